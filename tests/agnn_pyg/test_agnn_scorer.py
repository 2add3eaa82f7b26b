from dataclasses import replace

import pytest
import torch

from agnn_pyg.agnn_config import PUBLISHED, AGNNConfig
from agnn_pyg.agnn_scorer import EVALUATION_SEED, RATED, SIDES, AGNNScorer
from agnn_pyg.folds import joint_fold
from agnn_pyg.rating_data import NodeFeatures, RatingData
from tests.agnn_pyg.conftest import encoded_tables, listed
from tests.agnn_pyg.test_model import whole as pairs_of_graph

SETTINGS = {'epochs': 2, 'steps': 3, 'channels': 8, 'num_neighbors': 5}
SETTINGS |= {'candidate_fraction': 0.3, 'hold_out': False}
NEW = {'user': 4, 'item': 5}


@pytest.fixture(scope='module')
def planted():
    """Rating data, features of new nodes, and validation pairs."""
    bags, index, rating = encoded_tables(40, 50)
    old, new = {}, {}
    for side, part in bags.items():
        count = part.num_nodes - NEW[side]
        features = NodeFeatures(part, part)
        old[side] = features.take(slice(count))
        new[side] = features.take(slice(count, None))
        known = index[SIDES.index(side)] < count
        index, rating = index[:, known], rating[known]
    columns = dict.fromkeys(SIDES, ())
    data = RatingData(old, columns, index[:, :400], rating[:400])
    return data, new, (index[:, 400:], rating[400:])


@pytest.fixture(scope='module')
def scorer(planted):
    return AGNNScorer(AGNNConfig(**SETTINGS)).fit(planted[0])


def rmse(scorer, pairs):
    index, rating = pairs
    return (scorer.score(*index) - rating).square().mean().sqrt().item()


def test_a_fit_repeats_selects_an_epoch_and_beats_the_mean(planted):
    data, _, validation = planted
    config = AGNNConfig(**SETTINGS | {'epochs': 6, 'steps': 10})
    scorer = AGNNScorer(config).fit(data)
    again = AGNNScorer(config).fit(data, validation)
    assert len(again.history_) == len(scorer.history_) == 6
    best = min(again.history_, key=lambda epoch: epoch['val_rmse'])
    assert again.best_epoch_ == best['epoch']
    for one, other in zip(scorer.history_, again.history_, strict=True):
        assert one['train_loss'] == other['train_loss']
    stopped = AGNNScorer(config).fit(data, stop_after=again.best_epoch_ + 1)
    pairs = validation[0]
    assert torch.equal(stopped.score(*pairs), again.score(*pairs))
    mean = (validation[1] - data.rating.mean()).square().mean().sqrt()
    assert rmse(again, validation) < 0.9 * mean


def test_held_out_ratings_select_the_epoch(planted):
    data, pairs = planted[0], planted[2][0]
    config = AGNNConfig(**SETTINGS | {'hold_out': True, 'epochs': 4})
    scorer = AGNNScorer(config).fit(data)
    best = min(scorer.history_, key=lambda epoch: epoch['val_rmse'])
    assert scorer.best_epoch_ == best['epoch']
    held, kept = joint_fold(data.edge_index, seed=config.seed)
    fold = replace(data, edge_index=data.edge_index[:, kept], rating=data.rating[kept])
    alone = AGNNConfig(**SETTINGS | {'epochs': 4})
    selected = AGNNScorer(alone).fit(fold, stop_after=scorer.best_epoch_ + 1)
    assert [*scorer.held_out_] == ['warm', 'user_cold', 'item_cold', 'both_cold']
    for name, (index, score, label) in scorer.held_out_.items():
        assert torch.equal(index, held[name].nonzero().squeeze(1))
        assert len(index)
        assert torch.equal(score, selected.score(*data.edge_index[:, index]))
        assert torch.equal(label, data.rating[index])
    # Then all ratings, up to this epoch.
    whole = AGNNScorer(alone).fit(data, stop_after=scorer.best_epoch_ + 1)
    assert torch.equal(whole.score(*pairs), scorer.score(*pairs))


@pytest.mark.parametrize(
    'changed', [{}, {'use_rating_proximity': True}, {'rated_edges': False}]
)
@torch.no_grad()
def test_scores_are_those_of_the_network_on_the_whole_graph(planted, scorer, changed):
    data, _, (index, _) = planted
    if changed:
        scorer = AGNNScorer(AGNNConfig(**SETTINGS | changed)).fit(data)
    graph = scorer._graph
    assert torch.equal(graph[RATED].edge_index, data.edge_index)
    assert torch.equal(graph[RATED].rating, data.rating)
    for side in SIDES:
        assert torch.equal(graph[side].cold, data.cold(side))
        length = graph[side].x_weight.norm(dim=1)
        expected = data.nodes[side].embedded.weight.norm(dim=1)
        if changed.get('rated_edges', True):
            expected = torch.ones_like(length)
        torch.testing.assert_close(length, expected)
    batch = pairs_of_graph(graph, index, 5, EVALUATION_SEED)
    whole = scorer.score(*index)
    assert whole.dtype == torch.float64
    assert whole.std() > 0.01
    expected = scorer.model_(*batch[:-1]).double()
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=0)
    for k in (0, 7):
        assert torch.allclose(scorer.score(*index[:, k : k + 1]), whole[k], atol=1e-6)
    users, items = torch.arange(data.num_nodes['user']).flip(0), torch.tensor([7, 7, 1])
    for asked in (users, torch.cat([users, users, users])):
        blocks = [*scorer.score_all(asked, items)]
        assert max(map(len, blocks)) <= 64
        pairs = torch.cartesian_prod(asked, items).t()
        grid = torch.cat(blocks)
        torch.testing.assert_close(
            grid.flatten(), scorer.score(*pairs), atol=1e-5, rtol=0
        )
    empty = torch.empty(0, dtype=torch.long)
    assert scorer.score(empty, empty).size() == (0,)
    assert torch.cat([*scorer.score_all(users[:3], empty)]).size() == (3, 0)
    if not changed.get('rated_edges', True):
        with pytest.raises(ValueError, match='rated_edges'):
            scorer.with_new_nodes({}, (index, index[0].float()))


def few_ratings(data, side, count=6):
    """Ratings of new nodes 0 and 2 of one side."""
    end, first = SIDES.index(side), data.num_nodes[side]
    index = torch.zeros(2, count, dtype=torch.long)
    index[end] = first + 2 * (torch.arange(count) % 2)
    index[1 - end] = torch.arange(count) * 3
    return index, 1 + 4 * (torch.arange(count) % 2).float()


@pytest.mark.parametrize('side', [None, 'user', 'item'])
def test_new_nodes_change_nothing_else(planted, scorer, side):
    data, new, validation = planted
    ratings = None if side is None else few_ratings(data, side)
    before = listed(scorer.state_dict())
    wider = scorer.with_new_nodes(new, ratings)
    old, first = scorer.score(*validation[0]), data.num_nodes
    assert torch.equal(wider.score(*validation[0]), old)
    assert listed(scorer.state_dict()) == before
    assert wider.model_ is scorer.model_
    users = torch.arange(NEW['user']) + first['user']
    items = torch.arange(NEW['item']) + first['item']
    pairs = torch.cat([torch.cartesian_prod(users, items[:2]), torch.tensor([[0, 41]])])
    pairs[-1, 1] = items[0]
    found = wider.score(*pairs.t())
    assert torch.isfinite(found).all()
    assert found.std() > 0.001
    grid = torch.cat([*wider.score_all(users, items)])
    assert torch.allclose(grid[:, :2].flatten(), found[:-1], atol=1e-5)
    # One by one, one side after the other, among others: the same scores.
    one = scorer
    for name, row in (('user', 2), ('item', 0)):
        part = None
        if name == side:  # its ratings, by its number there
            index, rating = ratings
            mine = index[SIDES.index(name)] == first[name] + row
            part = index[:, mine].clone(), rating[mine]
            part[0][SIDES.index(name)] = first[name]
        one = one.with_new_nodes({name: new[name].take(slice(row, row + 1))}, part)
    alone = one.score(torch.tensor([first['user']]), torch.tensor([first['item']]))
    assert torch.allclose(alone, wider.score(users[2:3], items[:1]), atol=1e-6)
    # In two calls, each with ratings of its own: numbers go on.
    if side is not None:
        end, count = SIDES.index(side), NEW[side]
        index, rating = ratings
        late = index[end] == first[side] + 2
        twice = scorer
        for rows, mine in ((slice(0, 2), ~late), (slice(2, count), late)):
            part = index[:, mine], rating[mine]
            twice = twice.with_new_nodes({side: new[side].take(rows)}, part)
        pair = torch.zeros(2, count, dtype=torch.long)
        pair[end] = first[side] + torch.arange(count)
        assert torch.allclose(twice.score(*pair), wider.score(*pair), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('is_linked', [False, True])
def test_a_new_node_equals_a_cold_node_of_the_fit(planted, is_linked):
    """Without drawn neighbors, among which a node never is itself."""
    data, new, _ = planted
    new, nodes = dict(new), {}
    for side in SIDES:
        pairs = zip(data.nodes[side][:2], new[side][:2], strict=True)
        nodes[side] = NodeFeatures(*(one.append(other) for one, other in pairs))
        if is_linked:
            old, size = data.num_nodes[side], nodes[side].num_nodes
            links = (torch.rand(size, size) < 0.2).nonzero().t()
            of_new = torch.stack([links[0], links[1] - old])[:, links[1] >= old]
            x = torch.randn(size, 4)
            nodes[side] = nodes[side]._replace(links=links, positions=x)
            new[side] = new[side]._replace(links=of_new, positions=x[old:])
    config = AGNNConfig(**SETTINGS | {'num_neighbors': 0})
    scorer = AGNNScorer(config).fit(replace(data, nodes=nodes))
    twice = scorer.with_new_nodes(new)
    for end, side in enumerate(SIDES):
        old = torch.arange(NEW[side]) + data.num_nodes[side]
        other = torch.arange(data.num_nodes[SIDES[1 - end]])[:9]
        pairs = [
            torch.cartesian_prod(rows, other).t() for rows in (old, old + NEW[side])
        ]
        known, added = (twice.score(*(p if end == 0 else p.flip(0))) for p in pairs)
        torch.testing.assert_close(added, known, atol=1e-5, rtol=0)


def test_an_explanation_adds_up_and_names_the_neighbors(planted, scorer):
    parts, neighbors = scorer.explain(4, 6)
    score = float(scorer.score(torch.tensor([4]), torch.tensor([6])))
    assert sum(parts.values()) == pytest.approx(score, abs=1e-5)
    for side, node in zip(SIDES, (4, 6), strict=True):
        edges = scorer._graph[side, 'attribute_knn', side]
        mine = (edges.edge_index[1] == node) & (edges.edge_weight > 0)
        order = edges.edge_weight[mine].argsort(descending=True, stable=True)[:5]
        found = neighbors[side]
        assert torch.equal(found[1], edges.edge_weight[mine][order])
        known = edges.edge_index[0][mine], edges.edge_weight[mine]
        known, pairs = (
            {*zip(*(part.tolist() for part in both), strict=True)}
            for both in (known, found)
        )
        assert pairs <= known
    # Of new nodes, the neighbors are nodes of the fit.
    wider = scorer.with_new_nodes(planted[1]).with_new_nodes(planted[1])
    first = {s: planted[0].num_nodes[s] for s in SIDES}
    explained = [
        wider.explain(first['user'] + k * NEW['user'], first['item'] + k * NEW['item'])
        for k in (0, 1)
    ]
    for side in SIDES:
        one, other = (part[side][0] for _, part in explained)
        assert torch.equal(one, other)
        assert 0 < len(one) <= 5
        assert one.max() < first[side]


def test_settings_of_the_network(planted):
    for changed in (
        *({'conv': 'sage'}, {'conv': 'mean', 'generate': False}),
        *({'conv': 'sage', 'num_neighbors': 0}, PUBLISHED | {'batch_size': 64}),
        {'conv': 'gat', 'separate_neighbors': True},
        {'conv': 'res_gated', 'use_rating_proximity': True},
        {'slope_channels': 0, 'spectral_channels': 0, 'messages': False},
        {'slope_channels': 1, 'batch_size': 64, 'separate_neighbors': True},
    ):
        data, new, validation = planted
        config = AGNNConfig(**SETTINGS | changed | {'epochs': 1})
        scorer = AGNNScorer(config).fit(data)
        assert torch.isfinite(scorer.score(*validation[0])).all()
        parts = scorer.explain(0, 0)[0]
        score = float(scorer.score(torch.tensor([0]), torch.tensor([0])))
        assert sum(parts.values()) == pytest.approx(score, abs=1e-5)
        if config.self_neighbor:
            with pytest.raises(ValueError, match="'generate_neighbors'"):
                scorer.with_new_nodes(new)
