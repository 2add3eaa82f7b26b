from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from agnn_pyg.folds import SCENARIOS
from agnn_pyg.kernel.held_out import HeldOut
from agnn_pyg.kernel.implicit import ImplicitKernelScorer
from agnn_pyg.kernel.scenarios import KernelConfig
from agnn_pyg.kernel.two_way import ItemRidge, TwoWayRidge
from agnn_pyg.rating_data import SIDES

EVERY = torch.cartesian_prod(torch.arange(12), torch.arange(15)).t()


@pytest.fixture(scope='module')
def scorer(tiny_data):
    return ImplicitKernelScorer(KernelConfig(num_factors=4, cv_folds=2)).fit(tiny_data)


@pytest.mark.parametrize('identity', [0.0, 0.4])
def test_closed_form_equals_the_solved_equations(identity):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 3)), rng.standard_normal((7, 2))
    y = (rng.random((6, 7)) < 0.5) * rng.random((6, 7))
    y[5], y[:, 6] = 0, 0  # a cold node on each side, which is in no equation
    ridge = 0.7
    kernels = a @ a.T + identity * np.eye(6), b @ b.T
    warm = [k[:-1, :-1] for k in kernels]
    system = np.kron(*warm) + ridge * np.eye(30)
    dual = np.linalg.solve(system, y[:5, :6].ravel()).reshape(5, 6)
    expected = kernels[0][:, :5] @ dual @ kernels[1][:, :6].T
    tensors = torch.from_numpy(a), torch.from_numpy(b)
    model = TwoWayRidge(sp.csr_matrix(y), *tensors, identity)
    found = model.rows(ridge, slice(None)) @ (model.b_value * model.b).t()
    assert np.allclose(found, expected)
    for node, other in ((0, 1), (2, 6), (5, 6)):
        p, q = model.effects(ridge, node, other)
        whole = ((p @ q.t()).numpy() * y).sum()
        assert whole == pytest.approx(expected[node, other])
    if not identity:
        linear = tensors[0] @ model.weight(ridge) @ (model.b_value * model.b).t()
        assert np.allclose(linear, expected)


@pytest.mark.parametrize('num_items', [3, 5])
def test_items_are_scored_by_ridge_regressions_on_the_others(num_items):
    """On all others, or on those of the most positives."""
    rng = np.random.default_rng(1)
    x = (rng.random((20, 5)) < [0.7, 0.2, 0.6, 0.3, 0.5]) * (1 + rng.random((20, 5)))
    more = rng.standard_normal((5, 3))
    target = sp.csr_matrix(x)
    model = ItemRidge.fit(target, 2.0, torch.from_numpy(more), num_items)
    users, items = torch.tensor([3, 0, 7]), torch.tensor([4, 1, 2])
    found = model.score_all(users, items).numpy()
    count = (x > 0).sum(axis=0)
    head = sorted(np.argsort(-count, kind='stable')[:num_items])
    longer = np.concatenate([x, more.T])  # features are further users
    for column, k in enumerate(items.tolist()):
        others = [j for j in head if j != k]
        rest = longer[:, others]
        system = rest.T @ rest + 2.0 * np.eye(len(others))
        weight = np.linalg.solve(system, rest.T @ longer[:, k])
        assert np.allclose(found[:, column], x[users][:, others] @ weight)
        expected = np.zeros(5)
        expected[others] = weight
        assert np.allclose(model.weight(k), expected)


def test_warm_pairs_are_scored_by_items_and_their_attributes(scorer, tiny_data):
    x = np.zeros((12, 15))
    x[tuple(tiny_data.edge_index)] = tiny_data.rating
    setting = scorer.chosen_['warm']
    assert setting.attribute > 0
    more = scorer.sides['item'].attributes.x.double() * (torch.arange(15) < 13)[:, None]
    more *= (setting.attribute * setting.ridge) ** 0.5
    model = ItemRidge.fit(sp.csr_matrix(x), setting.ridge, more)
    users, items = torch.arange(10), torch.arange(13)
    found = torch.cat(list(scorer.score_all(users, items)))
    assert np.allclose(found, model.score_all(users, items), atol=1e-5)
    # And as of cold users, as much as was chosen.
    mixed, added = copy(scorer), {'warm': 0.5 + scorer.chosen_['warm'].added}
    added |= {'user_cold': 2.0, 'item_cold': 3.0, 'both_cold': 0.5}
    chosen = scorer.chosen_.items()
    mixed.chosen_ = {name: s._replace(added=added[name]) for name, s in chosen}
    twins = mixed.with_new_nodes({'user': tiny_data.nodes['user'].take(users)})
    cold = torch.cat(list(twins.score_all(12 + users, items)))
    assert np.allclose(torch.cat(list(mixed.score_all(users, items))), found + cold / 2)
    why = mixed.explain(3, 4)
    for parts in (why.contributions, why.components):
        assert float(parts.sum()) == pytest.approx(float(found[3, 4] + cold[3, 4] / 2))
    # To scores of new items with first positives a ridge regression of these is added.
    new, pairs = {'item': tiny_data.nodes['item'].take(items)}, [[1, 5, 7], [17] * 3]
    twins = mixed.with_new_nodes(new, (torch.tensor(pairs), torch.ones(3)))
    column = x[pairs[0]].sum(axis=0) + (more @ more[2]).numpy()
    first = x[:10] @ model.inverse.numpy() @ column * added['item_cold']
    bare = mixed.with_new_nodes(new).score_all(users, torch.tensor([17]))
    first += torch.cat([*bare])[:, 0].numpy()
    later = torch.cat([*twins.score_all(users, torch.tensor([17]))])[:, 0]
    assert np.allclose(later, first, atol=1e-5)
    why = twins.explain(3, 17)
    for parts in (why.contributions, why.components):
        assert float(parts.sum()) == pytest.approx(float(later[3]))
    # To those of new users, what is said of users of the fit.
    user, item = tiny_data.edge_index[:, tiny_data.edge_index[0] == 3]
    pairs = torch.stack([user + 12, item]), torch.ones(len(item))
    twins = mixed.with_new_nodes({'user': tiny_data.nodes['user'].take(users)}, pairs)
    x[3, item] = 1
    first = ItemRidge(sp.csr_matrix(x), model.head, model.inverse, model.features)
    first = added['user_cold'] * first.score_all(users[3:4], items)
    later = torch.cat([*twins.score_all(torch.tensor([15]), items)])
    assert np.allclose(later, cold[3] + first, atol=1e-5)
    # And with new items a ridge regression of their positives on attributes.
    setting, z = scorer.chosen_['item_cold'], scorer.sides['item'].attributes.x.double()
    new, pair = {s: tiny_data.nodes[s].take(users) for s in SIDES}, ([15], [19])
    penalty = setting.ridge / setting.identity * torch.eye(z.size(1))
    weight = torch.linalg.solve(z[:13].t() @ z[:13] + penalty, z[item].sum(dim=0))
    more = float(scorer.scenarios['item_cold']['scale'] * 0.5 * (weight @ z[4]))
    twins, pair = mixed.with_new_nodes(new, pairs), [*map(torch.tensor, pair)]
    both = mixed.with_new_nodes({'user': new['user']}, pairs)
    both.score(torch.tensor([15]), torch.tensor([4]))
    both = both.with_new_nodes({'item': new['item']})
    assert float(both.score(*pair)) == pytest.approx(float(twins.score(*pair)))
    later = float(mixed.with_new_nodes(new).score(*pair)) + more
    assert abs(more) > 1e-3
    assert float(twins.score(*pair)) == pytest.approx(later, abs=1e-6)
    why = twins.explain(15, 19)
    for parts in (why.contributions, why.components):
        assert float(parts.sum()) == pytest.approx(later, abs=1e-6)
    # A further fit forgets the data of the one before.
    again = ImplicitKernelScorer(scorer.config)
    for shift in (1, 0):
        rating = tiny_data.rating.roll(shift)
        again.fit(replace(tiny_data, rating=rating), fitted=scorer)
        refit = torch.cat(list(again.score_all(users, items)))
    assert torch.equal(refit, found)


def test_settings_are_those_of_the_best_held_out_ranking(scorer):
    assert scorer.chosen_.keys() == SCENARIOS.keys()
    known = torch.tensor([[0, 0, 1, 2], [0, 1, 2, 2]]), torch.ones(4).double()
    held = torch.tensor([True, False, True, False])
    fold = HeldOut.of(*known, held, ~held, 0)
    assert fold.users.tolist() == [0, 1]
    # User 0: item 1 is left out, so item 0 is second; user 1: item 2 is first.
    score = torch.tensor([[0.2, 0.9, 0.5], [0.1, 0.2, 0.3]])
    gain, truth, square = fold.metrics(score).tolist()
    assert gain == pytest.approx(1 / np.log2(3) + 1)
    assert truth == pytest.approx(0.2 + 0.3)
    assert square == pytest.approx(0.04 + 0.25 + 0.01 + 0.04 + 0.09)
