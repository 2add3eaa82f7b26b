import copy
import json
import subprocess
import sys
import threading

import pytest
import torch

pytest.importorskip('pytorch_lightning')

from agnn_pyg.agnn_config import AS_PUBLISHED, AGNNConfig
from agnn_pyg.agnn_scorer import EVALUATION_SEED, SIDES, AGNNScorer
from agnn_pyg.base.encoder import AttributeEncoder
from agnn_pyg.rating_data import NodeFeatures, RatingData
from agnn_pyg.sampling.loader import RatingLoader
from data.synthetic import planted_tables

# Enough for effects to show, little enough for a second.
SETTINGS = {'epochs': 6, 'channels': 8, 'hidden_channels': 8, 'batch_size': 64}
SETTINGS |= {'lr': 0.01, 'num_neighbors': 5, 'candidate_fraction': 0.3}
NEW = {'user': 4, 'item': 5}


@pytest.fixture(scope='module')
def planted():
    """Rating data, features of new nodes, and validation pairs."""
    tables = planted_tables(40, 50, density=0.4, seed=0)
    index = torch.stack([torch.from_numpy(part) for part in tables.positions()])
    rating = torch.tensor(tables.ratings['rating'].to_numpy(), dtype=torch.float)
    old, new, columns = {}, {}, {}
    for side, frame in zip(SIDES, (tables.users, tables.items), strict=True):
        encoder = AttributeEncoder(list(frame.columns[1:]))
        bags = encoder.fit_transform(frame)
        count = len(frame) - NEW[side]
        features = NodeFeatures(bags, bags)
        old[side], new[side] = (
            features.take(slice(count)),
            features.take(slice(count, None)),
        )
        columns[side] = ()
        known = index[SIDES.index(side)] < count
        index, rating = index[:, known], rating[known]
    data = RatingData(old, columns, index[:, :400], rating[:400])
    return data, new, (index[:, 400:], rating[400:])


@pytest.fixture(scope='module')
def scorer(planted):
    return AGNNScorer(AGNNConfig(**SETTINGS)).fit(planted[0])


def rmse(scorer, pairs):
    index, rating = pairs
    return (scorer.score(*index) - rating).square().mean().sqrt().item()


def test_a_fit_repeats_selects_an_epoch_and_beats_the_mean(planted, scorer):
    data, _, validation = planted
    state = torch.get_rng_state()
    again = AGNNScorer(scorer.config).fit(data, validation)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(again.history_) == len(scorer.history_) == 6
    best = min(again.history_, key=lambda epoch: epoch['val_rmse'])
    assert again.best_epoch_ == best['epoch']
    for one, other in zip(scorer.history_, again.history_, strict=True):
        assert one['train_loss'] == other['train_loss']
    stopped = AGNNScorer(scorer.config).fit(data, stop_after=again.best_epoch_ + 1)
    pairs = validation[0]
    assert torch.equal(stopped.score(*pairs), again.score(*pairs))
    mean = (validation[1] - data.rating.mean()).square().mean().sqrt()
    assert rmse(again, validation) < 0.9 * mean


def test_a_refit_learns_from_validation_ratings_too(planted):
    data, _, validation = planted
    config = AGNNConfig(**SETTINGS)
    refitted = AGNNScorer(config).fit(data, validation, refit=True)
    joined = RatingData(
        data.nodes,
        data.columns,
        torch.cat([data.edge_index, validation[0]], dim=1),
        torch.cat([data.rating, validation[1]]),
    )
    whole = AGNNScorer(config).fit(joined, stop_after=refitted.best_epoch_ + 1)
    assert 'val_rmse' in refitted.history_[0]
    assert torch.equal(whole.score(*validation[0]), refitted.score(*validation[0]))


def test_scores_do_not_depend_on_what_else_is_scored(planted, scorer):
    index = planted[2][0]
    whole = scorer.score(*index)
    assert whole.dtype == torch.float64
    assert whole.std() > 0.1
    for k in (0, 7):
        alone = scorer.score(*index[:, k : k + 1])
        assert torch.allclose(alone, whole[k], atol=1e-6)
    users, items = torch.tensor([3, 0, 9]), torch.tensor([7, 7, 1, 30])
    grid = torch.cat([*scorer.score_all(users, items)])
    pairs = torch.cartesian_prod(users, items).t()
    assert torch.allclose(grid.flatten(), scorer.score(*pairs), atol=1e-5)
    empty = torch.empty(0, dtype=torch.long)
    assert scorer.score(empty, empty).size() == (0,)
    assert torch.cat([*scorer.score_all(users, empty)]).size() == (3, 0)


def test_new_nodes_change_nothing_else(planted, scorer):
    data, new, validation = planted
    before = copy.deepcopy(scorer.state_dict())
    wider = scorer.with_new_nodes(new)
    old, first = scorer.score(*validation[0]), data.num_nodes
    assert torch.equal(wider.score(*validation[0]), old)
    assert all(torch.equal(v, before[k]) for k, v in scorer.state_dict().items())
    assert wider.model_ is scorer.model_
    users = torch.arange(NEW['user']) + first['user']
    items = torch.arange(NEW['item']) + first['item']
    pairs = torch.cat([torch.cartesian_prod(users, items[:2]), torch.tensor([[0, 41]])])
    pairs[-1, 1] = items[0]
    found = wider.score(*pairs.t())
    assert torch.isfinite(found).all()
    assert found.std() > 0.01
    # One by one, one side after the other, among others: the same scores.
    one = scorer.with_new_nodes({'user': new['user'].take(slice(2, 3))})
    one = one.with_new_nodes({'item': new['item'].take(slice(0, 1))})
    alone = one.score(torch.tensor([first['user']]), torch.tensor([first['item']]))
    expected = wider.score(users[2:3], items[:1])
    assert torch.allclose(alone, expected, atol=1e-6)
    twice = scorer.with_new_nodes({'item': new['item'].take(slice(0, 1))})
    twice = twice.with_new_nodes({'item': new['item'].take(slice(1, 3))})
    both = torch.zeros(2).long(), torch.tensor([0, 2]) + first['item']
    assert torch.allclose(twice.score(*both), wider.score(*both), atol=1e-6)
    grid = torch.cat([*wider.score_all(users, items)])
    assert torch.allclose(grid[:, :2].flatten(), found[:-1], atol=1e-5)


def test_an_explanation_adds_up_and_names_the_neighbors(planted, scorer):
    explanation = scorer.explain(4, 6)
    score = float(scorer.score(torch.tensor([4]), torch.tensor([6])))
    assert sum(explanation.parts.values()) == pytest.approx(score, abs=1e-5)
    graph = scorer._graph
    pair = torch.tensor([[4], [6]])
    loader = RatingLoader(graph, pair, num_neighbors=5, seed=EVALUATION_SEED)
    for side, node in zip(SIDES, (4, 6), strict=True):
        kind = (side, 'rating_knn', side)
        count = {}
        for draw in range(8):
            loader.set_epoch(draw)
            (batch,) = loader
            n_id = batch.n_id_dict[side]
            for source in n_id[batch.edge_index_dict[kind][0]].tolist():
                count[source] = count.get(source, 0) + 1 / 8
        found = explanation.neighbors[side]
        drawn = dict(zip(found.node.tolist(), found.drawn.tolist(), strict=True))
        assert drawn == pytest.approx(count)
        source, target = graph[kind].edge_index
        for neighbor, proximity in zip(found.node, found.proximity, strict=True):
            edge = (source == neighbor) & (target == node)
            assert proximity == graph[kind].edge_weight[edge]
        assert found.gate.min() > 0
        assert found.gate.max() < 1
        importance = found.drawn * found.gate
        assert torch.equal(importance, importance.sort(descending=True).values)


def test_many_threads_get_the_answers_of_one(planted, scorer):
    index, new = planted[2][0], planted[1]

    def ask():
        wider = scorer.with_new_nodes(new)
        pair = [int(row[-1]) for row in index]
        parts = scorer.explain(*pair).parts
        return wider.score(*index), torch.cat([*scorer.score_all(*index)]), parts

    expected, found = ask(), []
    threads = [threading.Thread(target=lambda: found.append(ask())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for score, grid, parts in found:
        assert torch.equal(score, expected[0])
        assert torch.equal(grid, expected[1])
        assert parts == expected[2]


@pytest.mark.parametrize('rating_proximity', [False, True])
def test_state_round_trip(planted, rating_proximity):
    data, new, validation = planted
    settings = SETTINGS | {'epochs': 1, 'use_rating_proximity': rating_proximity}
    scorer = AGNNScorer(AGNNConfig(**settings)).fit(data)
    plain = json.loads(json.dumps(scorer.to_dict()))
    tensors = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
    loaded = AGNNScorer.from_state(scorer.config, plain, tensors)
    assert torch.equal(loaded.score(*validation[0]), scorer.score(*validation[0]))
    assert loaded.history_ == scorer.history_
    assert loaded.best_epoch_ == scorer.best_epoch_
    pair = torch.tensor([0]), torch.tensor([data.num_nodes['item']])
    one, other = (s.with_new_nodes(new).score(*pair) for s in (scorer, loaded))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    'changed',
    [
        {'conv': 'sage'},
        {'conv': 'gat', 'separate_neighbors': True},
        {'conv': 'gcn', 'num_neighbors': 0},
        {'conv': 'res_gated', 'sparse': True},
        {'aggregate_gate': False, 'generate': False},
        AS_PUBLISHED | {'batch_size': 64},
    ],
)
def test_settings_of_the_network(planted, changed):
    data, new, validation = planted
    config = AGNNConfig(**SETTINGS | changed | {'epochs': 1})
    scorer = AGNNScorer(config).fit(data)
    assert torch.isfinite(scorer.score(*validation[0])).all()
    parts = scorer.explain(0, 0).parts
    score = float(scorer.score(torch.tensor([0]), torch.tensor([0])))
    assert sum(parts.values()) == pytest.approx(score, abs=1e-5)
    if config.self_neighbor:
        with pytest.raises(ValueError, match="'generate_neighbors'"):
            scorer.with_new_nodes(new)


def test_the_batch_follows_the_number_of_ratings():
    config = AGNNConfig()
    sizes = [config.training_batch(count) for count in (10, 3200, 1_000_000)]
    assert sizes == [1, 100, 2048]
    assert AGNNConfig(batch_size=7).training_batch(3200) == 7


IMPORTS = """
import sys
import agnn_pyg.agnn_scorer
assert 'pytorch_lightning' not in sys.modules
"""


@pytest.mark.slow
def test_serving_imports_no_training_code():
    subprocess.run([sys.executable, '-c', IMPORTS], check=True, timeout=120)
