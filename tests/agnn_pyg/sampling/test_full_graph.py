import copy
import math

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import LinkNeighborLoader

from agnn_pyg.base.training import fit
from agnn_pyg.graph.transform import AddAttributeKNN
from agnn_pyg.model import AGNN
from agnn_pyg.module import RatingModule
from agnn_pyg.sampling.batch import RatingBatch
from agnn_pyg.sampling.cold_dropout import ColdDropout
from agnn_pyg.sampling.full_graph import FullGraphLoader
from agnn_pyg.sampling.sampler import ProximitySampler

SIDES, RATES = ('user', 'item'), ('user', 'rates', 'item')
COLD = {'user': 0.3, 'item': 0.3}


def loader(graph, **kwargs):
    options = {'steps': 3, 'num_neighbors': 3, 'cold_dropout': 0.0} | kwargs
    return FullGraphLoader(graph, RATES, **options)


def pairs_of(index):
    return set(map(tuple, index.t().tolist()))


def ratings_by_pair(pairs):
    index, rating = pairs
    return dict(zip(map(tuple, index.t().tolist()), rating.tolist(), strict=True))


def contents(loader):
    """All of the batches, as plain lists."""
    found = []
    for batch in loader:
        ratings = batch.edge_label_index, batch.edge_label, batch.rating_dict[RATES]
        nodes = *batch.edge_index_dict.values(), *batch.cold_dict.values()
        found.append([part.tolist() for part in (*ratings, *nodes)])
    return found


def with_ratings(graph, rating):
    data = copy.copy(graph)
    data[RATES].rating = rating
    return data


@pytest.mark.parametrize('options', [{}, {'batch_size': 9}, {'id_dropout': 0.0}])
def test_each_pair_is_predicted_or_carries_a_message(tiny_graph, tiny_pairs, options):
    index, count = tiny_pairs[0], len(tiny_pairs[1])
    data = with_ratings(tiny_graph, torch.arange(float(count)))
    seen = dict.fromkeys(SIDES, 0)
    for batch in loader(data, cold_dropout=COLD, **options):
        target, message = batch.edge_label.long(), batch.rating_dict[RATES].long()
        assert torch.equal(batch.edge_label_index, index[:, target])
        assert torch.equal(batch.edge_index_dict[RATES], index[:, message])
        both = torch.cat([target, message])
        assert len(both.unique()) == len(both)
        if options.get('id_dropout') == 0:
            # Nodes treated as cold have no edges, and all of their pairs are targets.
            assert len(both) == count
            for side, row in zip(SIDES, index, strict=True):
                assert not batch.cold_dict[side][row[message]].any()
                seen[side] += int(batch.cold_dict[side][row].sum())
        for side in SIDES:
            assert batch.x_dict[side][0] is tiny_graph[side].x
            assert (batch.cold_dict[side] | ~tiny_graph[side].cold).all()


def test_with_a_batch_size_an_epoch_predicts_each_pair_once(tiny_graph, tiny_pairs):
    count = len(tiny_pairs[1])
    data = with_ratings(tiny_graph, torch.arange(float(count)))
    batches = loader(data, batch_size=9, cold_dropout=COLD)
    orders = []
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        parts = [batch.edge_label for batch in batches]
        assert len(parts) == len(batches) == math.ceil(count / 9)
        assert [len(part) for part in parts[:-1]] == [9] * (len(parts) - 1)
        orders.append(torch.cat(parts))
        assert orders[-1].sort().values.tolist() == list(range(count))
    assert not torch.equal(*orders)


def rates_of(graph, name, **kwargs):
    """Sums over many steps of nodes or pairs that `name` counts, and of all."""
    found, number = 0, 0
    for batch in loader(graph, steps=300, num_neighbors=0, **kwargs):
        if name == 'target':
            mask = torch.arange(len(graph[RATES].rating)) < len(batch.edge_label)
        else:
            mask = batch.cold_dict[name][~graph[name].cold]
        found, number = found + int(mask.sum()), number + len(mask)
    return found / number, number


def test_fractions(tiny_graph):
    for name, options, rate in (
        ('user', {'cold_dropout': {'user': 0.2}, 'id_dropout': 0.0}, 0.2),
        ('item', {'cold_dropout': {'user': 0.2}, 'id_dropout': 0.0}, 0.0),
        ('item', {'cold_dropout': COLD}, 1 - 0.7 * 0.2),
        ('user', {}, 0.8),
        ('target', {}, 0.2),
        ('target', {'target_fraction': 0.6}, 0.6),
        ('target', {'cold_dropout': COLD}, 1 - 0.7 * 0.7 * 0.8),
        ('target', {'target_fraction': 1.0}, 1.0),
    ):
        found, number = rates_of(tiny_graph, name, **options)
        # Five deviations of a binomial fraction, of which ten pairs share a node.
        slack = 5 * math.sqrt(10 * rate * (1 - rate) / number)
        assert found == pytest.approx(rate, abs=slack)


def test_a_step_predicts_at_least_one_pair(tiny_graph):
    data = copy.copy(tiny_graph)
    data[RATES].edge_index, data[RATES].rating = torch.zeros(2, 1).long(), torch.ones(1)
    for graph, number in ((tiny_graph, len(tiny_graph[RATES].rating)), (data, 1)):
        for batch in loader(graph, target_fraction=0.0):
            assert len(batch.edge_label) == 1
            assert len(batch.rating_dict[RATES]) == number - 1


def test_cold_nodes_draw_by_attributes_and_others_by_ratings(tiny_graph):
    """All nodes have edges by attributes, too, for models that ask for these."""
    seen = {(side, cold): set() for side in SIDES for cold in (False, True, None)}
    kinds = {(s, f'{n}_knn', s) for s in SIDES for n in ('rating', 'attribute')}
    for batch in loader(tiny_graph, steps=200, cold_dropout=COLD, id_dropout=0.0):
        assert {*batch.edge_index_dict} == {RATES, *kinds}
        for side in SIDES:
            edges = batch.edge_index_dict[side, 'rating_knn', side]
            assert len(edges.unique(dim=1)[0]) == edges.size(1)
            assert edges[1].bincount().max() == 3
            cold = batch.cold_dict[side][edges[1]]
            seen[side, False] |= pairs_of(edges[:, ~cold])
            seen[side, True] |= pairs_of(edges[:, cold])
            edges = batch.edge_index_dict[side, 'attribute_knn', side]
            assert edges[1].bincount().tolist() == [3] * tiny_graph[side].num_nodes
            seen[side, None] |= pairs_of(edges)
    for (side, cold), found in seen.items():
        kind = 'rating_knn' if cold is False else 'attribute_knn'
        edges = tiny_graph[side, kind, side]
        possible = edges.edge_weight > 0
        if cold is False:
            possible &= ~tiny_graph[side].cold[edges.edge_index[1]]
        assert found == pairs_of(edges.edge_index[:, possible])


def test_the_last_neighbor_may_be_the_node_itself(tiny_graph):
    batches = [next(iter(loader(tiny_graph, self_neighbor=s))) for s in (False, True)]
    for side in SIDES:
        edges = [batch.edge_index_dict[side, 'rating_knn', side] for batch in batches]
        for node in range(tiny_graph[side].num_nodes):
            mine, with_self = (e[0, e[1] == node].tolist() for e in edges)
            assert with_self == [*mine[:2], node]


def test_an_epoch_repeats_and_another_differs(tiny_graph):
    for options in ({}, {'batch_size': 30}):
        options = options | {'cold_dropout': COLD}
        state = torch.get_rng_state()
        batches = loader(tiny_graph, **options)
        first = contents(batches)
        assert torch.equal(torch.get_rng_state(), state)
        assert first[0] != first[1]
        assert contents(batches) == first
        batches.set_epoch(1)
        second = contents(batches)
        batches.set_epoch(0)
        one, other = iter(batches), iter(batches)
        both = [(next(one), next(other)) for _ in first]
        assert contents(a for a, _ in both) == contents(b for _, b in both) == first
        third = contents(loader(tiny_graph, seed=np.int8(1), **options))
        assert all(a != b for a, b in zip(first, second, strict=True))
        assert all(a != b for a, b in zip(first, third, strict=True))


def test_processes_take_turns(tiny_graph):
    for options, whole in (({}, {'steps': 9}), ({'batch_size': 8}, {'batch_size': 8})):
        expected = contents(loader(tiny_graph, **whole))
        number = len(expected) // 3
        for rank in range(3):
            batches = loader(tiny_graph, **options)
            batches.shard(rank, 3)
            assert contents(batches) == expected[: 3 * number][rank::3]
            assert len(batches) == number


def test_without_neighbors_or_features_of_ones_own(tiny_graph, tiny_pairs):
    for batch in loader(tiny_graph, num_neighbors=0):
        assert [*batch.edge_index_dict] == [RATES]
    data, rated = HeteroData(), ('person', 'saw', 'film')
    data['film'].x, data['person'].x = torch.rand(15, 4), torch.rand(12, 3)
    data[rated].edge_index, data[rated].rating = tiny_pairs
    (batch,) = FullGraphLoader(AddAttributeKNN()(data), rated, steps=1)
    for side in ('person', 'film'):
        assert batch.x_dict[side] is data[side].x
        assert (side, 'attribute_knn', side) in batch.edge_index_dict
    assert batch.edge_label.numel()


def test_a_batch_of_the_whole_graph_has_all_ratings(tiny_graph, tiny_pairs):
    pairs = torch.tensor([[0, 10], [14, 3]])
    batch, other = (loader(tiny_graph).whole(pairs, seed) for seed in (0, 1))
    assert torch.equal(batch.edge_label_index, pairs)
    assert batch.edge_label is None
    assert torch.equal(batch.edge_index_dict[RATES], tiny_pairs[0])
    assert torch.equal(batch.rating_dict[RATES], tiny_graph[RATES].rating)
    for side in SIDES:
        assert torch.equal(batch.cold_dict[side], tiny_graph[side].cold)
        kind = side, 'rating_knn', side
        drawn, others = (part.edge_index_dict[kind] for part in (batch, other))
        assert drawn[1].bincount().max() == 3
        assert not torch.equal(drawn, others)


@pytest.mark.parametrize('options', [{}, {'batch_size': 20}])
@torch.no_grad()
def test_no_rating_meets_itself(tiny_graph, tiny_pairs, tiny_model, options):
    model, index = tiny_model(rated=RATES), tiny_pairs[0]
    options = options | {'cold_dropout': COLD, 'id_dropout': 0.4}
    for step, batch in enumerate(loader(tiny_graph, **options)):
        expected = model(*batch[:-1])
        asked = pairs_of(batch.edge_label_index)
        asked = torch.tensor([pair in asked for pair in map(tuple, index.t().tolist())])
        assert 0 < asked.sum() < len(asked)
        for mask, value in ((asked, torch.nan), (asked, 1e6), (~asked, 9.0)):
            spoilt = with_ratings(tiny_graph, tiny_pairs[1].masked_fill(mask, value))
            other = [*loader(spoilt, **options)][step]
            assert torch.equal(other.edge_label_index, batch.edge_label_index)
            found = model(*other[:-1])
            # Ratings of other pairs do matter.
            assert torch.equal(found, expected) == (mask is asked)
            assert torch.allclose(found, expected, atol=1e-2) == (mask is asked)


@pytest.mark.parametrize('options', [{}, {'batch_size': 20}])
def test_nodes_treated_as_cold_are_as_new_ones(
    tiny_graph, tiny_pairs, tiny_model, options
):
    """Neither predictions nor gradients read what is learned of them."""
    model, options = tiny_model(rated=RATES), options | {'id_dropout': 0.0}
    options |= {'cold_dropout': {'user': 0.4, 'item': 0.4}}
    for step, batch in enumerate(loader(tiny_graph, **options)):
        expected, spoilt = model(*batch[:-1]), copy.deepcopy(model)
        rating, layer = tiny_pairs[1].clone(), spoilt.rating_layer
        for side, row, vectors in zip(SIDES, tiny_pairs[0], layer.vectors, strict=True):
            cold = batch.cold_dict[side]
            assert cold.any()
            spoilt.encoders[side].embedding.data[cold] = torch.nan
            vectors[cold] = 1e6
            rating[cold[row]] = torch.nan
        other = [*loader(with_ratings(tiny_graph, rating), **options)][step]
        predicted = spoilt(*other[:-1])
        assert torch.equal(predicted, expected)
        predicted.square().mean().backward()
        for name, parameter in spoilt.named_parameters():
            if 'lin_logvar' not in name:  # is for the noise of training
                assert torch.isfinite(parameter.grad).all(), name


RATED_BY = ('item', 'rated_by', 'user')


def link_loader(graph, index, rating, num_neighbors, rates=None, **kwargs):
    """A loader with messages along rated edges in both directions."""
    data = copy.copy(graph)
    data[RATED_BY].edge_index = graph[RATES].edge_index.flip(0)
    data[RATED_BY].rating = graph[RATES].rating
    kinds = [kind for kind in data.edge_types if kind[1] != 'attribute_knn']
    sampler = ProximitySampler(data, dict.fromkeys(kinds, num_neighbors))
    options = {'edge_label_index': (RATES, index), 'edge_label': rating}
    options |= {'transform': ColdDropout(sampler, rates or {})}
    options |= {'neighbor_sampler': sampler} | kwargs
    return LinkNeighborLoader(data, num_neighbors, **options)


def rated_pairs(data, kind):
    """Ids of the user and the item of each edge, of either direction."""
    ends = zip(kind[::2], data[kind].edge_index, strict=True)
    ids = {side: data[side].n_id[row].tolist() for side, row in ends}
    return list(zip(ids['user'], ids['item'], strict=True))


@pytest.mark.parametrize('hops', [[20], [20, 20]])
@torch.no_grad()
def test_batches_of_the_link_loader(tiny_graph, tiny_pairs, tiny_model, hops):
    model = tiny_model(rated=RATES)
    for data in link_loader(tiny_graph, *tiny_pairs, hops, batch_size=9):
        batch = RatingBatch.from_data(data)
        assert RatingBatch.from_data(batch) is batch
        ids = [data[side].n_id for side in SIDES]
        asked, messages = (
            torch.stack([n_id[row] for n_id, row in zip(ids, index, strict=True)])
            for index in (batch.edge_label_index, batch.edge_index_dict[RATES])
        )
        # Messages are the other ratings of the users and items, each once.
        found = list(map(tuple, messages.t().tolist()))
        assert len(found) == len(set(found))
        assert not set(found) & pairs_of(asked)
        reverse = batch.edge_index_dict[RATED_BY]
        others = pairs_of(torch.stack([ids[0][reverse[1]], ids[1][reverse[0]]]))
        assert others
        assert not others & pairs_of(asked)
        known = ratings_by_pair(tiny_pairs)
        assert [known[pair] for pair in found] == batch.rating_dict[RATES].tolist()
        beside = {(u, i) for u, i in known if u in asked[0] or i in asked[1]}
        beside -= pairs_of(asked)
        assert beside
        assert beside <= set(found)
        expected = model(*batch[:-1])
        assert torch.isfinite(expected).all()
        assert expected.std() > 0.01
        for kind in (RATES, RATED_BY):
            pairs = rated_pairs(data, kind)
            mine = torch.tensor([pair in pairs_of(asked) for pair in pairs])
            assert mine.any()
            data[kind].rating = data[kind].rating.masked_fill(mine, torch.nan)
        data[RATES].edge_label = data[RATES].edge_label * torch.nan
        spoilt = RatingBatch.from_data(data)
        assert torch.equal(model(*spoilt[:-1]), expected)


@pytest.mark.parametrize('rated', [None, RATES, 'convolution'])
@torch.no_grad()
def test_a_batch_with_all_edges_equals_the_whole_graph(
    tiny_graph, tiny_pairs, tiny_model, rated
):
    hops = [20] if rated == 'convolution' else [20] * 4
    if rated == 'convolution':  # over rated edges, as over any others
        kinds = [RATES, *(k for k in tiny_graph.edge_types if k[1] == 'rating_knn')]
        torch.manual_seed(0)
        model = AGNN.from_data(tiny_graph, RATES, False, edge_types=kinds).eval()
    else:
        model = tiny_model(rated=rated)
    index, rating = tiny_pairs
    batches = link_loader(tiny_graph, index, rating, hops, batch_size=9)
    for k, data in enumerate(batches):
        graph = copy.copy(tiny_graph)
        graph[RATES].edge_label_index = index[:, 9 * k : 9 * k + 9]
        expected = model(*RatingBatch.from_data(graph)[:-1])
        found = model(*RatingBatch.from_data(data)[:-1])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_link_batches_lose_the_edges_of_nodes_treated_as_cold(tiny_graph, tiny_pairs):
    # As many pairs as edges: what belongs to pairs is kept.
    graph, tagged = copy.copy(tiny_graph), ('tag', 'of', 'item')
    graph['tag'].num_nodes, graph[tagged].edge_index = 1, torch.zeros(2, 1).long()
    batches = link_loader(graph, *tiny_pairs, [20], COLD, batch_size=1000)
    (data,), count, known = batches, len(tiny_pairs[1]), ratings_by_pair(tiny_pairs)
    assert [data[tagged].edge_index.size(1)] == data[tagged].num_sampled_edges
    cold = {s: data[s].cold & ~tiny_graph[s].cold[data[s].n_id] for s in SIDES}
    assert all(part.any() and not part.all() for part in cold.values())
    assert data[RATES].edge_label_index.size() == (2, count)
    assert len(data[RATES].edge_label) == len(data[RATES].input_id) == count
    for kind in (RATES, RATED_BY):
        store, pairs = data[kind], rated_pairs(data, kind)
        for side, row in zip(kind[::2], store.edge_index, strict=True):
            assert not cold[side][row].any()
        assert [known[pair] for pair in pairs] == store.rating.tolist()
        assert 0 < len(pairs) == len(store.e_id) < count
        assert store.num_sampled_edges == [len(pairs)]
    (same,) = link_loader(graph, *tiny_pairs, [20], 0.3, batch_size=1000)
    assert all(torch.equal(same[s].cold, data[s].cold) for s in SIDES)
    with pytest.raises(ValueError, match='LinkNeighborLoader'):
        ColdDropout(ProximitySampler(graph, [2]), 0.5)(graph)
    # Of neighbors that are no targets, none is treated as cold.
    for data in link_loader(tiny_graph, *tiny_pairs, [20], COLD, batch_size=3):
        for side in SIDES:
            rest = slice(data[side].num_sampled_nodes[0], None)
            known = tiny_graph[side].cold[data[side].n_id[rest]]
            assert torch.equal(data[side].cold[rest], known)


def test_bad_arguments(tiny_graph):
    for options, match in (
        ({'steps': 0}, "'steps'"),
        ({'target_fraction': 1.5}, "'target_fraction'"),
        ({'num_neighbors': -1}, "'num_neighbors'"),
        ({'cold_dropout': {'user': 1.5}}, "'cold_dropout'.*1.5"),
        ({'cold_dropout': {'film': 0.5}}, "'cold_dropout'.*'film'"),
        ({'seed': -1}, "'seed'"),
    ):
        with pytest.raises(ValueError, match=match):
            loader(tiny_graph, **options)
    twice = copy.copy(tiny_graph)
    for name in ('edge_index', 'rating'):
        twice[RATES][name] = torch.cat([twice[RATES][name]] * 2, dim=-1)
    with pytest.raises(ValueError, match='each pair once'):
        loader(twice)
    for rates in (1.5, None, {'user': 1.5}, {'film': 0.5}):
        with pytest.raises(ValueError, match="'rates'"):
            ColdDropout(ProximitySampler(tiny_graph, [2]), rates)


# PyTorch finds four workers too many for two cores.
@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.slow
def test_training_with_no_worker_and_with_four(tiny_graph, tiny_pairs, tiny_model):
    weights, options = [], {'batch_size': 16, 'shuffle': True}
    for workers in (0, 4):
        options['num_workers'] = workers
        loader = link_loader(tiny_graph, *tiny_pairs, [3], COLD, **options)
        module = RatingModule(tiny_model(rated=RATES))
        fit(module, loader, epochs=2)
        weights.append(module.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_other_edges_are_kept_unless_they_are_between_users_and_items(
    tiny_graph, tiny_pairs
):
    data = copy.copy(tiny_graph)
    data['tag'].x = torch.rand(4, 3)
    tagged, follows = ('tag', 'of', 'item'), ('user', 'follows', 'user')
    rated_by, viewed = ('item', 'rated_by', 'user'), ('user', 'viewed', 'item')
    data[tagged].edge_index = torch.tensor([[0, 3], [14, 2]])
    data[follows].edge_index = torch.tensor([[0, 1], [2, 3]])
    data[viewed].edge_index = data[RATES].edge_index
    data[rated_by].edge_index = data[RATES].edge_index.flip(0)
    batches = loader(data)
    outside = data.clone()
    outside[tagged].edge_index[0, 1] = 99
    with pytest.raises(ValueError, match=r"'of'.* 'tag' .* 99 at position 1"):
        loader(outside)
    for batch in batches:
        for kind in (tagged, follows):
            assert torch.equal(batch.edge_index_dict[kind], data[kind].edge_index)
        assert not {rated_by, viewed} & set(batch.edge_index_dict)
    model = AGNN.from_data(data, RATES, edge_types=[tagged, viewed], channels=4)
    with pytest.raises(ValueError, match=r"'train'.*'viewed'"):
        fit(RatingModule(model), batches, epochs=1)
    model = AGNN.from_data(data, RATES, edge_types=[tagged, follows], channels=4)
    fit(RatingModule(model), batches, epochs=1)
