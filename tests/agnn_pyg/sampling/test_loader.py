import copy
import math

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg.base.randomness import salted
from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.cold_dropout import ColdDropout
from agnn_pyg.sampling.draw import CandidateSets
from agnn_pyg.sampling.loader import RatingLoader
from agnn_pyg.sampling.sampler import ProximitySampler

SIDES = ('user', 'item')
RATES = ('user', 'rates', 'item')
RATING_KNN = {side: (side, 'rating_knn', side) for side in SIDES}
ATTRIBUTE_KNN = {side: (side, 'attribute_knn', side) for side in SIDES}
COLD = {'user': 0.4, 'item': 0.6}


def pairs_of(batch):
    """The pairs of a batch by global id."""
    ids = [batch.n_id_dict[side] for side in SIDES]
    rows = zip(ids, batch.edge_label_index, strict=True)
    return torch.stack([n_id[row] for n_id, row in rows])


def edges_of(batch, side):
    """Edges neighbour -> target by global id."""
    n_id = batch.n_id_dict[side]
    edge_index = batch.edge_index_dict[RATING_KNN[side]]
    return sorted(map(tuple, n_id[edge_index].t().tolist()))


def targets_of(batch, side):
    return batch.n_id_dict[side][: batch.num_targets_dict[side]]


def contents(loader):
    """All of the batches, as plain lists."""
    return [
        [
            pairs_of(batch).tolist(),
            *(
                [
                    batch.n_id_dict[side].tolist(),
                    batch.cold_dict[side].tolist(),
                    batch.edge_index_dict[RATING_KNN[side]].tolist(),
                ]
                for side in SIDES
            ),
        ]
        for batch in loader
    ]


@pytest.mark.parametrize('shuffle', [False, True])
@pytest.mark.parametrize('batch_size', [1, 7, 1000])
def test_every_pair_appears_once_with_its_label(
    tiny_graph, tiny_pairs, shuffle, batch_size
):
    index, count = tiny_pairs[0], len(tiny_pairs[1])
    loader = RatingLoader(
        tiny_graph,
        (RATES, index),
        torch.arange(count),
        batch_size=batch_size,
        shuffle=shuffle,
    )
    batches = list(loader)
    assert len(batches) == len(loader) == math.ceil(count / batch_size)
    sizes = [len(batch.edge_label) for batch in batches]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    position = torch.cat([batch.edge_label for batch in batches])
    assert torch.equal(position.sort().values, torch.arange(count))
    assert torch.equal(position, position.sort().values) == (not shuffle)
    found = torch.cat([pairs_of(batch) for batch in batches], dim=1)
    assert torch.equal(found, index[:, position])


def test_nodes_of_a_batch(tiny_graph, tiny_pairs, tiny_attributes):
    index = torch.cat([tiny_pairs[0], torch.tensor([[0, 10, 0], [13, 2, 13]])], dim=1)
    state = torch.get_rng_state()
    for batch in RatingLoader(
        tiny_graph, index, batch_size=9, num_neighbors=3, cold_dropout=COLD
    ):
        assert batch.edge_label is None
        for side, positions in zip(SIDES, batch.edge_label_index, strict=True):
            n_id, end = batch.n_id_dict[side], batch.num_targets_dict[side]
            assert len(n_id.unique()) == len(n_id)
            # Targets come first; all others are neighbours.
            assert set(positions.tolist()) == set(range(end))
            source, target = batch.edge_index_dict[RATING_KNN[side]]
            assert target.max() < end
            assert set(range(end, len(n_id))) <= set(source.tolist())
            attributes = tiny_attributes[side]
            token, weight = batch.x_dict[side]
            assert torch.equal(token, attributes.index[n_id])
            assert torch.equal(weight, attributes.weight[n_id])
            cold, strictly = batch.cold_dict[side], tiny_graph[side].cold[n_id]
            assert torch.equal(cold[end:], strictly[end:])
            assert (cold[:end] | ~strictly[:end]).all()
    assert torch.equal(torch.get_rng_state(), state)


def drawn(graph, kind, node, size, epoch, seed):
    edges = graph[kind]
    sets = CandidateSets(edges.edge_index, edges.edge_weight, graph[kind[0]].num_nodes)
    slot = sets.draw(node, size, salted(seed, *kind), epoch)
    row, column = (slot >= 0).nonzero(as_tuple=True)
    source = sets.source[slot[row, column]]
    return list(zip(source.tolist(), node[row].tolist(), strict=True))


@pytest.mark.parametrize('epoch', [0, 3])
def test_warm_nodes_draw_by_ratings_and_cold_ones_by_attributes(
    tiny_graph, tiny_pairs, epoch
):
    loader = RatingLoader(
        tiny_graph, *tiny_pairs, num_neighbors=3, cold_dropout=COLD, seed=2
    )
    loader.set_epoch(epoch)
    (batch,) = loader
    for side in SIDES:
        target = targets_of(batch, side)
        treated = batch.cold_dict[side][: len(target)] & ~tiny_graph[side].cold[target]
        assert 0 < treated.sum() < len(target)
        assert edges_of(batch, side) == sorted(
            drawn(tiny_graph, ATTRIBUTE_KNN[side], target[treated], 3, epoch, 2)
            + drawn(tiny_graph, RATING_KNN[side], target[~treated], 3, epoch, 2)
        )


def test_only_nodes_of_pairs_draw(tiny_graph, tiny_pairs, monkeypatch):
    few, asked, draw = torch.tensor([[3, 3], [2, 13]]), [], CandidateSets.draw

    def counted(sets, node, *args):
        asked.append(node.tolist())
        return draw(sets, node, *args)

    monkeypatch.setattr(CandidateSets, 'draw', counted)
    (batch,) = RatingLoader(tiny_graph, few, num_neighbors=3, seed=2)
    assert asked == [[3], [2, 13]]
    # They draw the same neighbours as among others.
    together = torch.cat([few, tiny_pairs[0]], dim=1)
    (other,) = RatingLoader(tiny_graph, together, num_neighbors=3, seed=2)
    for side in SIDES:
        assert set(edges_of(batch, side)) <= set(edges_of(other, side))


@pytest.mark.parametrize('rates', [(0.3, 0.0), (0.2, 0.5), (0.0, 0.0), (1.0, 1.0)])
def test_the_fraction_treated_as_cold(tiny_graph, tiny_pairs, rates):
    before = copy.deepcopy({side: tiny_graph[side].cold for side in SIDES})
    rates = dict(zip(SIDES, rates, strict=True))
    loader = RatingLoader(tiny_graph, *tiny_pairs, batch_size=16, cold_dropout=rates)
    cold, count = dict.fromkeys(SIDES, 0), dict.fromkeys(SIDES, 0)
    for epoch in range(60):
        loader.set_epoch(epoch)
        for batch in loader:
            for side in SIDES:
                end = batch.num_targets_dict[side]
                cold[side] += int(batch.cold_dict[side][:end].sum())
                count[side] += end
    for side, rate in rates.items():
        # Four deviations of a binomial fraction.
        slack = 4 * math.sqrt(rate * (1 - rate) / count[side])
        assert cold[side] / count[side] == pytest.approx(rate, abs=slack)
        assert torch.equal(tiny_graph[side].cold, before[side])


def test_without_neighbors(tiny_graph, tiny_pairs):
    loader = RatingLoader(tiny_graph, *tiny_pairs, num_neighbors=0, cold_dropout=COLD)
    for batch in loader:
        for side in SIDES:
            assert batch.edge_index_dict[RATING_KNN[side]].size() == (2, 0)
            assert len(batch.n_id_dict[side]) == batch.num_targets_dict[side]


def test_the_last_neighbor_may_be_the_node_itself(tiny_graph, tiny_pairs):
    options = {'num_neighbors': 3, 'cold_dropout': COLD}
    (plain,) = RatingLoader(tiny_graph, *tiny_pairs, **options)
    (batch,) = RatingLoader(tiny_graph, *tiny_pairs, **options, self_neighbor=True)
    for side in SIDES:
        found, others = edges_of(batch, side), edges_of(plain, side)
        own = [(node, node) for node in targets_of(batch, side).tolist()]
        assert set(own) <= set(found)
        assert len(found) == len(others)
        assert len(set(others) - set(found)) == len(own)


def test_an_epoch_repeats_and_another_differs(tiny_graph, tiny_pairs):
    options = {'batch_size': 8, 'num_neighbors': 2, 'shuffle': True}
    options['cold_dropout'] = COLD
    loader = RatingLoader(tiny_graph, *tiny_pairs, **options)
    first = contents(loader)
    assert contents(loader) == first
    loader.set_epoch(1)
    second = contents(loader)
    assert second != first
    loader.set_epoch(0)
    one, other = iter(loader), iter(loader)
    both = [(next(one), next(other)) for _ in first]
    assert contents(a for a, _ in both) == contents(b for _, b in both) == first
    third = contents(RatingLoader(tiny_graph, *tiny_pairs, **options, seed=np.int8(1)))
    assert third not in (first, second)


@pytest.mark.parametrize('sparse', [0, 10**9])
def test_large_graphs_give_the_same_batches(
    tiny_graph, tiny_pairs, monkeypatch, sparse
):
    options = {'batch_size': 7, 'num_neighbors': 3, 'cold_dropout': COLD}
    expected = contents(RatingLoader(tiny_graph, *tiny_pairs, **options))
    monkeypatch.setattr('agnn_pyg.sampling.blocks.SPARSE', sparse)
    assert contents(RatingLoader(tiny_graph, *tiny_pairs, **options)) == expected


def test_processes_take_turns(tiny_graph, tiny_pairs):
    loaders = [RatingLoader(tiny_graph, *tiny_pairs, batch_size=8) for _ in range(3)]
    whole = contents(loaders[0])
    for rank, loader in enumerate(loaders):
        loader.shard(rank, 3)
        assert contents(loader) == whole[: len(whole) // 3 * 3][rank::3]
        assert len(loader) == len(whole) // 3


def link_loader(graph, index, label, num_neighbors, cold_dropout, seed=0, **kwargs):
    kinds = [k for k in graph.edge_types if k[1].endswith('_knn')]
    sampler = ProximitySampler(
        graph, {kind: [num_neighbors] for kind in kinds}, seed=seed
    )
    loader = LinkNeighborLoader(
        graph,
        [num_neighbors],
        edge_label_index=(RATES, index),
        edge_label=label,
        neighbor_sampler=sampler,
        transform=ColdDropout(sampler, cold_dropout),
        **kwargs,
    )
    return loader, sampler


@pytest.mark.parametrize(
    ('options', 'epoch'),
    [
        ({'batch_size': 7, 'cold_dropout': {}}, 0),
        ({'batch_size': 1, 'cold_dropout': COLD}, 2),
        ({'batch_size': 7, 'cold_dropout': COLD}, 2),
        ({'batch_size': 70, 'cold_dropout': {'user': 0.5}, 'num_neighbors': 4}, 1),
        ({'batch_size': 9, 'cold_dropout': COLD, 'num_neighbors': 0, 'seed': 5}, 0),
    ],
)
def test_batches_equal_those_of_the_link_loader(
    tiny_graph, tiny_pairs, tiny_model, options, epoch
):
    options = {'num_neighbors': 3} | options
    one = RatingLoader(tiny_graph, *tiny_pairs, **options)
    other, sampler = link_loader(tiny_graph, *tiny_pairs, **options)
    one.set_epoch(epoch)
    sampler.set_epoch(epoch)
    model = tiny_model()
    assert len(one) == len(other)
    for a, data in zip(one, other, strict=True):
        b = RatingBatch.from_data(data)
        assert torch.equal(a.edge_label_index, b.edge_label_index)
        assert torch.equal(a.edge_label, b.edge_label)
        assert a.num_targets_dict == b.num_targets_dict
        for side in SIDES:
            end = a.num_targets_dict[side]
            assert torch.equal(targets_of(a, side), targets_of(b, side))
            assert torch.equal(a.cold_dict[side][:end], b.cold_dict[side][:end])
            assert edges_of(a, side) == edges_of(b, side)
            kind = RATING_KNN[side]
            assert len(data[kind].edge_weight) == data[kind].edge_index.size(1)
        with torch.no_grad():
            assert torch.equal(model(*a[:-1]), model(*b[:-1]))


def test_a_graph_of_ones_own(tiny_pairs):
    """Dense features, one edge type of candidates, other names, no `cold`."""
    index, rating = tiny_pairs
    data = HeteroData()
    data['film'].x, data['person'].x = torch.rand(15, 4), torch.rand(12, 3)
    data['person', 'saw', 'film'].edge_index = index
    data = AddAttributeKNN()(data)
    loader = RatingLoader(data, (('person', 'saw', 'film'), index), rating)
    (batch,) = loader
    assert [*batch.x_dict] == ['person', 'film']
    for side in ('person', 'film'):
        assert torch.equal(batch.x_dict[side], data[side].x[batch.n_id_dict[side]])
        assert (side, 'attribute_knn', side) in batch.edge_index_dict
        assert not batch.cold_dict[side].any()


@pytest.mark.parametrize(
    ('index', 'options', 'match'),
    [
        ([[0, 12], [0, 0]], {}, 'user 12'),
        ([[0, 0], [-1, 0]], {}, 'item -1'),
        ([0, 0], {}, r"'edge_label_index'.*\[2\]"),
        ([[0.0], [0.0]], {}, "'edge_label_index'.*float32"),
        ([[], []], {}, "'edge_label_index'"),
        ([[0], [0]], {'edge_label': torch.ones(2)}, 'rating per pair.*2'),
        ([[0], [0]], {'batch_size': 0}, "'batch_size'"),
        ([[0], [0]], {'num_neighbors': -1}, "'num_neighbors'"),
        ([[0], [0]], {'cold_dropout': {'user': 1.5}}, "'cold_dropout'.*1.5"),
        ([[0], [0]], {'cold_dropout': {'film': 0.5}}, "'cold_dropout'.*'film'"),
        ([[0], [0]], {'seed': -1}, "'seed'"),
    ],
)
def test_bad_arguments(tiny_graph, index, options, match):
    index = torch.tensor(index)
    with pytest.raises(ValueError, match=match):
        RatingLoader(tiny_graph, index if index.numel() else index.long(), **options)


def test_unfit_graphs_and_epochs_are_refused(tiny_graph, tiny_pairs):
    with pytest.raises(ValueError, match=r"'epoch'.*-1"):
        RatingLoader(tiny_graph, *tiny_pairs).set_epoch(-1)
    bare = HeteroData()
    bare['user'].x, bare['item'].x = torch.rand(12, 2), torch.rand(15, 2)
    with pytest.raises(ValueError, match=r"'user'.*'AddAttributeKNN'"):
        RatingLoader(bare, *tiny_pairs)
    RatingLoader(bare, *tiny_pairs, num_neighbors=0)
    with pytest.raises(ValueError, match="'edge_label_index'"):
        RatingLoader(tiny_graph, (('user', 'knows', 'user'), tiny_pairs[0]))
    with pytest.raises(ValueError, match="'edge_label_index'"):
        RatingBatch.from_data(bare)
