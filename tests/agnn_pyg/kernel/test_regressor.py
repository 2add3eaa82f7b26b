import pytest
import torch

from agnn_pyg.folds import SCENARIOS, scenario_folds
from agnn_pyg.kernel import regressor as module
from agnn_pyg.kernel.regressor import COMPONENTS, PairwiseKernelRegressor

scenarios = pytest.mark.parametrize('scenario', SCENARIOS)


@pytest.fixture
def rated(tiny_pairs):
    return tiny_pairs[0], tiny_pairs[1].double()


def make(maps, **options):
    return PairwiseKernelRegressor(*maps, **{'num_factors': 4} | options)


@scenarios
@pytest.mark.parametrize('num_factors', [0, 4])
def test_posterior_mean_against_a_dense_solution(maps, rated, num_factors, scenario):
    rating = rated[1]
    model = make(maps, num_factors=num_factors, scenario=scenario)
    model.fit(*rated, tol=1e-12)
    every = torch.cartesian_prod(torch.arange(12), torch.arange(15)).t()
    columns = []
    for k in range(len(rating)):
        unit = torch.zeros_like(rating)
        unit[k] = 1
        p, q = model.kernel.factors(model.kernel.node_sums(unit))
        columns.append((p[every[0]] * q[every[1]]).sum(dim=-1))
    kernel = torch.stack(columns, dim=-1)
    pairs = model.kernel.pairs
    gram = kernel[15 * pairs.user + pairs.item]
    torch.testing.assert_close(gram, gram.t())
    assert torch.linalg.eigvalsh(gram).min() > -1e-9
    target = (rating - rating.mean())[pairs.order]
    alpha = torch.linalg.solve(gram + torch.eye(len(target)).double(), target)
    torch.testing.assert_close(model.alpha[pairs.order], alpha)
    torch.testing.assert_close(model.predict(*every), rating.mean() + kernel @ alpha)


@scenarios
def test_gradient_of_the_weights_against_differences(maps, rated, scenario):
    index, rating = rated
    model = make(maps, scenario=scenario)
    held, kept = scenario_folds(index, scenario, 2, seed=0)[0]

    parts = model, index, rating - rating.mean(), held, kept, torch.rand(12)

    def loss(weight):
        fold = module._Fold(*parts)
        error, gradient = fold.step(weight, tol=1e-12)
        return error / len(fold.truth), gradient

    gradient = loss(model.weight)[1]
    for a, b in ((0, 1), (-1, 0), (0, -1), (2, -1), (-1, 2), (1, 1)):
        ends = []
        for step in (1e-6, -1e-6):
            weight = model.weight.clone()
            weight[a, b] += step
            ends.append(loss(weight)[0])
        difference = (ends[0] - ends[1]) / 2e-6
        assert float(gradient[a, b]) == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_learned_weights_predict_held_out_ratings_better(maps, rated):
    model = make(maps, scenario='item_cold')
    history = model.fit_hyperparameters(*rated, steps=12, cv_folds=3)
    assert min(history) < history[0]
    assert (model.weight >= 0).all()


@scenarios
def test_held_out_ratings_do_not_reach_the_coefficients(maps, rated, scenario):
    index, rating = rated
    for held, kept in scenario_folds(index, scenario, 3, seed=0):
        found = []
        for other in (rating, torch.where(held, 100.0, rating)):
            model = make(maps, scenario=scenario)
            fold = module._Fold(model, index, other, held, kept, torch.rand(12))
            fold.step(model.weight, tol=1e-3)
            found.append(fold.solution.alpha)
        assert torch.equal(*found)


@pytest.mark.parametrize('leak', ['rating', 'item'])
def test_planted_leak_is_refused(maps, rated, monkeypatch, leak):
    def leaky(edge_index, scenario, cv_folds, seed):
        if leak == 'item':
            return scenario_folds(edge_index, 'warm', cv_folds, seed)
        folds = scenario_folds(edge_index, scenario, cv_folds, seed)
        return [(held, torch.ones_like(kept)) for held, kept in folds]

    monkeypatch.setattr(module, 'scenario_folds', leaky)
    with pytest.raises(ValueError, match=f'leakage.*held-out {leak}'):
        make(maps, scenario='item_cold').fit_hyperparameters(*rated)


def test_components_are_groups_of_weights(maps):
    free = {name: make(maps, components=(name,)).weight > 0 for name in COMPONENTS}
    for name, mask in free.items():
        # Both biases are always there.
        assert mask[-1, 0]
        assert mask[0, -1]
        assert mask[-1, 1] == (name == 'user')
        assert mask[1, -1] == (name == 'item')
        assert mask[1, 1] == (name == 'attribute')
    with pytest.raises(ValueError, match=r"'components' .*'film'"):
        make(maps, components=('film',))


@scenarios
def test_folds_of_many_ratings_take_all_of_some_users(
    maps, rated, monkeypatch, scenario
):
    index, rating = rated
    held, kept = scenario_folds(index, scenario, 2, seed=0)[0]
    monkeypatch.setattr(module, 'MAX_RATINGS', 12)
    model = make(maps, scenario=scenario)
    fold = module._Fold(model, index, rating, held, kept, torch.rand(12))
    taken = len(fold.kernel.pairs)
    count = torch.bincount(index[0, kept], minlength=12)
    assert 12 <= taken < min(kept.sum(), 12 + count.max())
    assert held[fold.rows].all()
    if not SCENARIOS[scenario][0]:
        # The users of held-out ratings are among those that were taken.
        users = index[0, fold.rows].unique()
        assert count[users].sum() <= taken
