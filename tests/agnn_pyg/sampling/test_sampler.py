from copy import deepcopy

import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import LinkNeighborLoader, NeighborLoader
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import trim_to_layer

from agnn_pyg.sampling.sampler import ProximitySampler
from tests.conftest import run_python

IS = ('user', 'is', 'user')


def random_data(num_nodes=30, num_edges=150, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randperm(num_nodes**2, generator=generator)[:num_edges]
    return Data(
        x=torch.arange(num_nodes)[:, None] * 1.0,
        edge_index=torch.stack([pair // num_nodes, pair % num_nodes]),
        edge_weight=torch.rand(num_edges, generator=generator) + 0.1,
        edge_attr=torch.arange(num_edges)[:, None] * 1.0,
    )


def random_hetero_data():
    generator = torch.Generator().manual_seed(0)
    data = HeteroData()
    data['user'].x = torch.arange(10)[:, None] * 1.0
    data['item'].x = torch.arange(20)[:, None] * -1.0
    sizes = {'user': 10, 'item': 20}
    for kind in (('user', 'rates', 'item'), ('item', 'of', 'user'), IS):
        ends = [
            torch.randint(sizes[side], (60,), generator=generator) for side in kind[::2]
        ]
        data[kind].edge_index = torch.stack(ends)
        data[kind].edge_weight = torch.rand(60, generator=generator)
    return data


def node_loader(data, sampler, **kwargs):
    options = {'num_neighbors': [-1], 'neighbor_sampler': sampler, 'batch_size': 4}
    return NeighborLoader(data, **(options | kwargs))


def batches(loader):
    """What was sampled, as plain lists."""
    return [(b.n_id.tolist(), b.e_id.tolist(), b.edge_index.tolist()) for b in loader]


@pytest.mark.parametrize('num_neighbors', [[3], [3, 2], [2, 0, 2], [0], []])
@pytest.mark.parametrize('num_edges', [150, 30])
def test_batches_are_subgraphs(num_neighbors, num_edges):
    """Also of as many edges as nodes, whose tensors have one length."""
    data = random_data(num_edges=num_edges)
    sampler = ProximitySampler(data, num_neighbors)
    loader = node_loader(data, sampler)
    assert len(loader) == 8
    for batch in loader:
        assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
        assert torch.equal(batch.x, data.x[batch.n_id])
        assert torch.equal(batch.edge_attr, data.edge_attr[batch.e_id])
        assert torch.equal(batch.edge_weight, data.edge_weight[batch.e_id])
        assert len(batch.n_id.unique()) == len(batch.n_id) == batch.num_nodes
        assert len(batch.e_id.unique()) == len(batch.e_id)
        assert len(batch.num_sampled_edges) == len(num_neighbors)
        assert sum(batch.num_sampled_edges) == batch.edge_index.size(1)
        assert len(batch.num_sampled_nodes) == len(num_neighbors) + 1
        assert sum(batch.num_sampled_nodes) == batch.num_nodes
        assert batch.num_sampled_nodes[0] == batch.batch_size


# A row as long as the largest number would not fit into memory.
@pytest.mark.parametrize('num_neighbors', [[3], [3, 2], [2**40, 100], [-1, 2]])
def test_every_hop_draws_the_number_asked_for(num_neighbors):
    data = random_data()
    degree = torch.bincount(data.edge_index[1], minlength=30)
    for batch in node_loader(data, ProximitySampler(data, num_neighbors)):
        frontier, seen = set(batch.n_id[: batch.batch_size].tolist()), set()
        edges = data.edge_index[:, batch.e_id]
        for size in num_neighbors:
            seen |= frontier
            reached = set()
            for node in frontier:
                sources = edges[0, edges[1] == node].tolist()
                every = int(degree[node])
                assert len(sources) == (every if size < 0 else min(size, every))
                reached |= set(sources)
            frontier = reached - seen
        assert seen | frontier == set(batch.n_id.tolist())


def test_batches_can_be_trimmed_layer_by_layer():
    torch.manual_seed(0)
    data = random_data()
    convs = [SAGEConv(1, 1), SAGEConv(1, 1)]
    for batch in node_loader(data, ProximitySampler(data, [3, 2])):
        x, edge_index = full, _ = batch.x, batch.edge_index
        for layer, conv in enumerate(convs):
            full = conv(full, batch.edge_index)
            x, edge_index, _ = trim_to_layer(
                layer, batch.num_sampled_nodes, batch.num_sampled_edges, x, edge_index
            )
            x = conv(x, edge_index)
        seeds = batch.batch_size
        assert torch.allclose(x[:seeds], full[:seeds], atol=1e-5)


def test_seeds_come_first_also_repeated_and_isolated_ones():
    edge_index = torch.tensor([[1, 2], [0, 0]])
    data = Data(edge_index=edge_index, num_nodes=5, x=torch.arange(5.0)[:, None])
    seeds = torch.tensor([3, 3, 0, 4])
    loader = node_loader(data, ProximitySampler(data, [2, 2]), input_nodes=seeds)
    (batch,) = loader
    assert torch.equal(batch.n_id[:4], seeds)
    assert batch.n_id[4:].tolist() == [1, 2]
    assert torch.equal(batch.n_id[batch.edge_index], edge_index[:, batch.e_id])


def test_neighbors_follow_the_weights():
    data = Data(edge_index=torch.tensor([[1, 2, 3], [0, 0, 0]]), num_nodes=4)
    data.edge_weight = torch.tensor([0.0, 1, 0])
    data.other = torch.tensor([0.0, 0, 2])
    for attr, expected in (('edge_weight', 2), ('other', 3)):
        sampler = ProximitySampler(data, [1], weight_attr=attr)
        (batch,) = node_loader(data, sampler, input_nodes=torch.tensor([0]))
        assert batch.n_id.tolist() == [0, expected]


def test_seed_and_epoch_choose_the_draw():
    data = random_data()
    sampler = ProximitySampler(data, [2, 2], seed=4)
    loader = node_loader(data, sampler)
    first = batches(loader)
    assert batches(loader) == first
    # A copy, too, tells its epoch to workers that outlive one.
    copied, workers = deepcopy(sampler), {'num_workers': 1, 'persistent_workers': True}
    outliving = node_loader(data, copied, **workers)
    assert batches(outliving) == first
    for changed in (copied, sampler):
        changed.set_epoch(1)
    assert sampler.epoch == 1
    assert batches(loader) == batches(outliving) != first
    sampler.set_epoch(0)
    assert batches(loader) == first
    assert batches(node_loader(data, ProximitySampler(data, [2, 2], seed=5))) != first
    # Arguments of PyG's own sampler change nothing, as the docstring says.
    ignored = {'replace': True, 'disjoint': True, 'subgraph_type': 'induced'}
    ignored |= {'num_neighbors': [9], 'weight_attr': 'edge_attr', 'time_attr': 'x'}
    assert batches(node_loader(data, sampler, **ignored)) == first
    assert all(f':obj:`{name}`' in ProximitySampler.__doc__ for name in ignored)


def test_loaders_on_a_heterogeneous_graph():
    data = random_hetero_data()
    rates = ('user', 'rates', 'item')
    options = {'neighbor_sampler': ProximitySampler(data, [2, 2]), 'batch_size': 7}
    options |= {'edge_label_index': (rates, data[rates].edge_index)}
    options |= {'edge_label': torch.arange(60.0)}
    loader = LinkNeighborLoader(data, [2, 2], **options)
    labels, pairs = [], []
    for batch in loader:
        assert_hetero_subgraph(batch, data, data.edge_types)
        row, col = batch[rates].edge_label_index
        pairs.append(torch.stack([batch['user'].n_id[row], batch['item'].n_id[col]]))
        labels.append(batch[rates].edge_label)
    assert torch.equal(torch.cat(labels), torch.arange(60.0))
    assert torch.equal(torch.cat(pairs, 1), data[rates].edge_index)
    sampler = ProximitySampler(data, [3, 3])
    for batch in node_loader(data, sampler, input_nodes='user'):
        assert_hetero_subgraph(batch, data, data.edge_types)
        for kind in data.node_types:
            assert sum(batch[kind].num_sampled_nodes) == batch[kind].num_nodes
    # Only edge types that are named are followed.
    sampler = ProximitySampler(data, {IS: [2, 2]})
    for batch in node_loader(data, sampler, input_nodes='user'):
        assert_hetero_subgraph(batch, data, [IS])
        assert batch['item'].num_nodes == 0


def assert_hetero_subgraph(batch, data, kinds):
    for kind in data.node_types:
        assert torch.equal(batch[kind].x, data[kind].x[batch[kind].n_id])
    for kind in kinds:
        source, target = batch[kind].edge_index
        ids = [batch[kind[0]].n_id[source], batch[kind[2]].n_id[target]]
        edges = data[kind].edge_index[:, batch[kind].e_id]
        assert torch.equal(torch.stack(ids), edges)


BLOCKED = """
import sys
for name in ('pyg_lib', 'torch_sparse', 'torch_scatter', 'torch_cluster'):
    sys.modules[name] = None
import warnings
warnings.simplefilter('error')
warnings.filterwarnings('ignore', '.*torch.jit.*')
import torch
from torch_geometric import typing
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from agnn_pyg import GatedConv, ProximitySampler
assert not (typing.WITH_PYG_LIB or typing.WITH_TORCH_SPARSE)
assert not typing.WITH_TORCH_SCATTER
edge_index = torch.tensor([[1, 2, 3, 4, 0], [0, 0, 1, 2, 4]])
data = Data(x=torch.ones(5, 3), edge_index=edge_index)
sampler = ProximitySampler(data, [2, 2])
loader = NeighborLoader(data, [2, 2], neighbor_sampler=sampler, batch_size=2)
out = [GatedConv(3)(batch.x, batch.edge_index)[:batch.batch_size] for batch in loader]
print(list(torch.cat(out).size()))
"""


@pytest.mark.slow
def test_works_without_compiled_extensions():
    assert run_python('-c', BLOCKED).strip() == '[5, 3]'


def test_time_is_refused():
    data, four = random_data(), torch.arange(4)
    data.time = torch.arange(30)
    times = {'time_attr': 'time', 'neighbor_sampler': ProximitySampler(data, [2])}
    pairs = {'edge_label_index': torch.stack([four, four]), 'edge_label_time': four}
    for loader in (
        NeighborLoader(data, [2], input_nodes=four, input_time=four, **times),
        LinkNeighborLoader(data, [2], **pairs, **times),
    ):
        with pytest.raises(ValueError, match="'edge_label_time'"):
            next(iter(loader))


def test_unfit_arguments_and_graphs_are_refused():
    plain, data = random_data(), random_hetero_data()
    one, other, _ = data.edge_types
    data[one].trust = torch.zeros(60)
    # One of the edge types that are followed must have it.
    ProximitySampler(data, [3], weight_attr='trust')
    nowhere = random_hetero_data()
    nowhere['shop', 'sells', 'item'].edge_index = torch.tensor([[0], [1]])
    beyond = random_hetero_data()
    beyond[one].edge_index[0, 7] = beyond[one[0]].num_nodes
    trust, bare = {'weight_attr': 'trust'}, Data(num_nodes=3, adj_t=torch.eye(3))
    for graph, num_neighbors, options, match in (
        (plain, [3, -2], {}, r"'num_neighbors'.*\[3, -2\]"),
        (plain, [2.5], {}, r"'num_neighbors'.*\[2.5\]"),
        (plain, ['3'], {}, r"'num_neighbors'.*\['3'\]"),
        (nowhere, [3], {}, "'num_nodes'.*'shop'"),
        (plain, {('a', 'b', 'c'): [1]}, {}, r"'num_neighbors'.*\('a', 'b', 'c'\)"),
        (plain, 3, {}, r"'num_neighbors'.*3"),
        (plain, [3], {'seed': -1}, r"'seed'.*-1"),
        (plain, [3], {'weight_attr': 'edge_wieght'}, r"'weight_attr'.*'edge_wieght'"),
        (data, {one: [1], other: [1, 1]}, {}, 'number of hops'),
        (data, {other: [3]}, trust, r"'weight_attr'.*'trust'"),
        (bare, [3], {}, r"'edge_index'.*'adj_t'"),
        (beyond, [3], {}, rf"'{one[0]}' nodes from 0 .*position 7"),
    ):
        with pytest.raises(ValueError, match=match):
            ProximitySampler(graph, num_neighbors, **options)
    with pytest.raises(ValueError, match=r"'epoch'.*-1"):
        ProximitySampler(plain, [3]).set_epoch(-1)
