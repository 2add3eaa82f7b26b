from io import BytesIO

import pytest
import torch

from agnn_pyg.folds import SCENARIOS
from agnn_pyg.kernel import implicit
from agnn_pyg.kernel.factorization import factor_rows
from agnn_pyg.kernel.implicit import ImplicitKernelScorer
from agnn_pyg.kernel.posterior import PRIOR_NODES, ROUNDS, same_kernel
from agnn_pyg.kernel.regressor import PairwiseKernelRegressor
from agnn_pyg.kernel.scenarios import KernelConfig
from agnn_pyg.kernel.scorer import KernelScorer
from agnn_pyg.rating_data import SIDES, RatingData
from tests.agnn_pyg.conftest import listed

OPTIONS = {'num_factors': 4, 'kernel_steps': 2, 'cv_folds': 2}
EVERY = torch.cartesian_prod(torch.arange(12), torch.arange(15)).t()
PAIRS = {'warm': (3, 2), 'user_cold': (10, 4), 'item_cold': (0, 14)}
PAIRS |= {'both_cold': (11, 13)}


@pytest.fixture(scope='module')
def scorer(tiny_data):
    return KernelScorer(KernelConfig(**OPTIONS)).fit(tiny_data)


@pytest.fixture(scope='module', params=['ratings', 'positives', 'many items'])
def any_scorer(tiny_data, request):
    """Of positives also with weights of few items only."""
    if request.param == 'ratings':
        return request.getfixturevalue('scorer')
    with pytest.MonkeyPatch.context() as patch:
        most = 5 if request.param == 'many items' else 100
        patch.setattr(implicit, 'MAX_ITEMS', most)
        return ImplicitKernelScorer(KernelConfig(**OPTIONS)).fit(tiny_data)


def test_each_pair_is_scored_by_the_model_of_its_scenario(tiny_data):
    config = KernelConfig(**OPTIONS | {'num_factors': 0})
    scorer = KernelScorer(config).fit(tiny_data)
    found = scorer.score(*EVERY)
    assert found.dtype == torch.float64
    cold = [tiny_data.cold(side)[rows] for side, rows in zip(SIDES, EVERY, strict=True)]
    for name, pattern in SCENARIOS.items():
        # Unlike the scorer, this model has features of the cold nodes, too.
        model = PairwiseKernelRegressor(
            *(scorer.sides[side].maps for side in SIDES), num_factors=0, scenario=name
        )
        pairs = tiny_data.edge_index, tiny_data.rating
        steps = 1 if name == 'both_cold' else 2
        model.fit_hyperparameters(*pairs, steps=steps, cv_folds=2)
        model.fit(*pairs)
        mine = (cold[0] == pattern[0]) & (cold[1] == pattern[1])
        assert mine.any()
        expected = model.predict(*EVERY[:, mine]).double()
        torch.testing.assert_close(found[mine], expected, atol=1e-5, rtol=0)


def test_scores_of_all_pairs(any_scorer, monkeypatch):
    cases = [([11, 0, 4, 10], [3, 14, 2, 13]), ([0, 4], [3, 2]), ([10], [3])]
    for users, items in (*cases, ([10, 11], [13]), ([], [1]), ([0, 10], [])):
        monkeypatch.setattr('agnn_pyg.kernel.scenarios.BLOCK_USERS', 2)
        monkeypatch.setattr(type(any_scorer), 'block_items', 3)
        users, items = (torch.tensor(rows, dtype=torch.long) for rows in (users, items))
        blocks = list(any_scorer.score_all(users, items))
        assert all(len(block) <= 2 for block in blocks)
        made = torch.cat([torch.empty(0, len(items)).double(), *blocks])
        expected = any_scorer.score(*torch.cartesian_prod(users, items).t())
        torch.testing.assert_close(made, expected.view(len(users), len(items)))


def test_new_nodes_score_as_if_known_at_the_fit(any_scorer, tiny_data, monkeypatch):
    """The cold nodes are left out of the fit and arrive later, one side at a time."""
    warm, most = {'user': 10, 'item': 13}, 100
    if isinstance(any_scorer, ImplicitKernelScorer):
        most = len(any_scorer.scenarios['warm']['head'])
    nodes = {side: tiny_data.nodes[side].take(slice(n)) for side, n in warm.items()}
    early = RatingData(nodes, tiny_data.columns, tiny_data.edge_index, tiny_data.rating)
    monkeypatch.setattr(implicit, 'MAX_ITEMS', most)
    later = fitted = type(any_scorer)(any_scorer.config).fit(early)
    for side, n in warm.items():
        later = later.with_new_nodes({side: tiny_data.nodes[side].take(slice(n, None))})
    assert later.num_nodes == {'user': 12, 'item': 15}
    assert fitted.num_nodes == warm
    torch.testing.assert_close(
        later.score(*EVERY), any_scorer.score(*EVERY), rtol=1e-4, atol=1e-6
    )
    # Features of new nodes are not appended to those of the fit, which may be many.
    for side, n in warm.items():
        assert later.sides[side].fitted is fitted.sides[side].fitted
        assert len(later.sides[side].fitted.x) == n


@pytest.mark.parametrize('num_factors', [0, 4])
def test_an_update_is_a_fit_with_the_weights_that_were_learned(
    num_factors, tiny_data, monkeypatch
):
    """Of more ratings and nodes; those without ratings have no collaborative kernel."""
    monkeypatch.setattr('agnn_pyg.kernel.scorer.RATINGS_FOR_FACTORS', 0)
    users, items = (10, 13) if num_factors else (12, 15)
    index = tiny_data.edge_index
    early = (index < torch.tensor([[8], [11]])).all(0)
    order = torch.cat([early.nonzero(), (~early).nonzero()])[:, 0]
    index, rating = index[:, order], tiny_data.rating[order]

    def part(users, items, number=None):
        take = zip(SIDES, (users, items), strict=True)
        nodes = {side: tiny_data.nodes[side].take(slice(n)) for side, n in take}
        pairs = index[:, :number], rating[:number]
        return RatingData(nodes, tiny_data.columns, *pairs)

    data = part(users, items)
    config = KernelConfig(**OPTIONS | {'num_factors': num_factors})
    fitted = KernelScorer(config).fit(part(8, 11, int(early.sum())))
    before = listed(fitted.state_dict())
    scorer = KernelScorer(config).fit(data, fitted=fitted)
    assert listed(fitted.state_dict()) == before
    maps = [fitted.features[s].transform(data.nodes[s].compared) for s in SIDES]
    every = torch.cartesian_prod(torch.arange(users), torch.arange(items)).t()
    cold = [data.cold(side)[rows] for side, rows in zip(SIDES, every, strict=True)]
    for name, pattern in SCENARIOS.items():
        model = PairwiseKernelRegressor(*maps, num_factors=num_factors, scenario=name)
        model.weight = fitted.scenarios[name]['weight']
        expected = model.fit(index, rating, tol=1e-6).predict(*every).double()
        mine = (cold[0] == pattern[0]) & (cold[1] == pattern[1])
        torch.testing.assert_close(
            scorer.score(*every[:, mine]), expected[mine], atol=3e-3, rtol=0
        )


@pytest.mark.parametrize(('limit', 'width'), [(5, 0), (1, 12)])
def test_factors_ask_for_ratings(limit, width, tiny_data, monkeypatch):
    """Nodes of the tiny data have less than five ratings on average."""
    monkeypatch.setattr('agnn_pyg.kernel.scorer.RATINGS_FOR_FACTORS', limit)
    first = KernelScorer(KernelConfig(**OPTIONS)).fit(tiny_data)
    for scorer in (first, KernelScorer(first.config).fit(tiny_data, fitted=first)):
        maps = scorer.sides['user'].maps
        assert (maps.component == maps.names.index('factors')).sum() == width


def test_a_factorization_is_mixed_in_if_it_helps(tiny_data, monkeypatch):
    """With a weight above its standard error, which an update keeps."""
    monkeypatch.setattr('agnn_pyg.kernel.scorer.RATINGS_FOR_FACTORS', 0)

    def fit(error=None, fitted=None):
        name = 'agnn_pyg.kernel.scorer.fit_weight'
        monkeypatch.setattr(name, lambda *parts, prior: (0.4, error))
        return KernelScorer(KernelConfig(**OPTIONS)).fit(tiny_data, fitted=fitted)

    kernel, mixed = fit(0.5), fit(0.3)
    rating = tiny_data.rating - mixed.mean
    p, q = factor_rows(tiny_data.edge_index, rating, (10, 13), 12)
    user, item = EVERY[:, (torch.tensor([[9], [12]]) >= EVERY).all(0)]
    factors = (p[user] * q[item]).sum(1)
    expected = 0.6 * kernel.score(user, item) + 0.4 * (mixed.mean + factors)
    torch.testing.assert_close(mixed.score(user, item), expected, atol=1e-5, rtol=0)
    held_out = (scorer.held_out_['warm'][1] for scorer in (kernel, mixed))
    assert not torch.equal(*held_out)
    later = fit(fitted=mixed).score(user, item)
    torch.testing.assert_close(later, expected, atol=3e-3, rtol=0)
    why = mixed.explain(int(user[5]), int(item[5]))
    assert why.factors == pytest.approx(0.4 * float(factors[5]), abs=1e-5)
    for part in (why.contributions, why.components):
        total = why.mean + why.factors + float(part.sum())
        assert total == pytest.approx(float(expected[5]), abs=1e-5)


@pytest.mark.parametrize('pair', PAIRS.values(), ids=PAIRS)
def test_explanations_add_up(any_scorer, tiny_data, pair):
    why = any_scorer.explain(*pair)
    score = float(any_scorer.score(*torch.tensor(pair)[:, None]))
    assert score != 0
    for part in (why.contributions, why.components):
        assert why.mean + float(part.sum()) == pytest.approx(score, abs=1e-5)
    assert why.contributions.size() == tiny_data.rating.size()
    assert why.components.shape == (len(why.user_kernels), len(why.item_kernels))


@pytest.mark.parametrize('pair', PAIRS.values(), ids=PAIRS)
def test_cold_sides_have_no_collaborative_kernels(scorer, pair):
    why = scorer.explain(*pair)
    # The cold side has neither a bias nor collaborative kernels.
    for names, node, warm in zip(why[3:5], pair, (10, 13), strict=True):
        assert ('residual' in names) == (node < warm)
    if pair[0] >= 10:
        assert not why.components[-1].any()


def test_contributions_are_linear_in_the_coefficients(scorer, tiny_data):
    """A rating contributes its coefficient times its kernel with the pair."""
    index = tiny_data.edge_index
    one = scorer.explain(*index[:, 0].tolist())
    two = scorer.explain(*index[:, 1].tolist())
    alpha = scorer.scenarios['warm']['alpha']
    # The kernel is symmetric.
    ratio = one.contributions[1] / alpha[1], two.contributions[0] / alpha[0]
    assert float(ratio[0]) == pytest.approx(float(ratio[1]), rel=1e-5)


def test_round_trip(any_scorer):
    buffer = BytesIO()
    torch.save(any_scorer.state_dict(), buffer)
    state = torch.load(BytesIO(buffer.getvalue()), weights_only=True)
    again = type(any_scorer).from_state(any_scorer.config, state)
    assert torch.equal(again.score(*EVERY), any_scorer.score(*EVERY))
    why = any_scorer.explain(0, 0)
    assert again.explain(0, 0).user_kernels == why.user_kernels


def test_pairs_of_other_scenarios_have_no_score(tiny_data):
    config = KernelConfig(**OPTIONS, scenarios=['item_cold'])
    scorer = KernelScorer(config).fit(tiny_data)
    user, item = torch.tensor([0, 0, 10]), torch.tensor([0, 14, 14])
    assert scorer.score(user, item).isfinite().tolist() == [False, True, False]
    (grid,) = scorer.score_all(torch.tensor([0, 10]), torch.tensor([0, 14]))
    assert grid.isfinite().tolist() == [[False, True], [False, False]]
    why = scorer.explain(0, 0)
    assert not why.contributions.any()
    assert not why.components.numel()


def test_a_single_rating(tiny_data):
    """There is nothing to hold out, so weights stay as they are."""
    index, rating = torch.tensor([[0], [0]]), torch.tensor([4.0])
    data = RatingData(tiny_data.nodes, tiny_data.columns, index, rating)
    scorer = KernelScorer(KernelConfig(**OPTIONS)).fit(data)
    assert scorer.score(*EVERY).isfinite().all()


@pytest.mark.parametrize('side', SIDES)
def test_the_prior_of_slopes_by_a_loop(scorer, tiny_data, side, monkeypatch):
    """EM for random slopes, on errors of folds; then by other features."""
    for name, value in (('RANK', 1000), ('BLOCK_PRODUCTS', 7)):
        monkeypatch.setattr(f'agnn_pyg.kernel.posterior.{name}', value)
    end = SIDES.index(side)
    again = KernelScorer(scorer.config).fit(tiny_data)
    maps = again.sides[SIDES[1 - end]].fitted
    weight = again.scenarios['warm']['weight']
    weight = (weight[-1], weight[:, -1])[end][maps.component].double() + 1e-12
    rows, prediction = again.held_out_[f'{side}_cold']
    node, neighbor = tiny_data.edge_index[[end, 1 - end]][:, rows]
    error = (tiny_data.rating[rows] - prediction).double()
    covariance = start = weight.diag()
    for _ in range(ROUNDS):
        spread, outer, square = 0, 0, 0
        for u in node.unique():
            x, e = maps.x[neighbor[node == u]].double(), error[node == u]
            inverse = torch.linalg.inv(x @ covariance @ x.t() + torch.eye(len(e)))
            mean = covariance @ x.t() @ inverse @ e
            spread = spread + covariance - covariance @ x.t() @ inverse @ x @ covariance
            outer, square = outer + mean.outer(mean), square + e @ (e - x @ mean)
        total = spread + outer * len(error) / square + PRIOR_NODES * start
        covariance = total / (len(node.unique()) + PRIOR_NODES)
    found, expected = again.slope_priors[side], maps.x.double() @ covariance
    kernel = maps.x @ found @ found.t() @ maps.x.t()
    torch.testing.assert_close(kernel.double(), expected @ maps.x.double().t())
    rotated = maps.x @ torch.linalg.qr(torch.randn(len(weight), len(weight))).Q
    kept = rotated @ same_kernel(found, maps.x, rotated)
    torch.testing.assert_close(kept @ kept.t(), kernel, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize('side', SIDES)
def test_ratings_of_new_nodes_give_them_slopes(scorer, tiny_data, side):
    """The posterior mean of the components of their identity, given the errors."""
    end, first = SIDES.index(side), scorer.num_nodes[side]
    nodes = tiny_data.nodes[side].take(slice(1, 4))
    bags = nodes.compared.append(nodes.compared.take(slice(1)).emptied())
    bags = bags.take(torch.tensor([0, 1, 3]))  # of the third nothing is known
    new = {side: nodes._replace(compared=bags)}
    neighbor = torch.tensor([3, 7, 0, 9])
    index = [neighbor, neighbor]
    index[end] = first + torch.tensor([0, 0, 0, 2])  # of the second there are none
    index, rating = torch.stack(index), torch.tensor([5.0, 1.0, 4.0, 2.0])
    cold = scorer.with_new_nodes(new)
    later = scorer.with_new_nodes(new, (index, rating))
    assert torch.equal(later.score(*EVERY), scorer.score(*EVERY))
    with pytest.raises(ValueError, match='in one call'):
        later.with_new_nodes(new, (index, rating))
    maps = scorer.sides[SIDES[1 - end]].maps
    slopes = maps.x.double() @ scorer.slope_priors[side].double()
    # The third is any node of the fit, and predictions by their attributes vary.
    warm = (~scorer.cold[side]).nonzero().flatten()
    others = scorer.with_new_nodes({side: tiny_data.nodes[side].take(warm)})
    size = torch.arange(len(maps.x)), first + torch.arange(len(warm))
    grid = torch.cat([*others.score_all(*size[:: 2 * end - 1])])
    spread = torch.cov(grid if end else grid.t(), correction=0)

    rest = rating.double() - cold.score(*index)
    every = torch.arange(len(maps.x))
    for node, rows in enumerate(([0, 1, 2], [], [3])):
        known = neighbor[rows]
        kernel = slopes @ slopes.t() + (node == 2) * spread
        gram = kernel[known][:, known] + torch.eye(len(rows))
        added = kernel[:, known] @ torch.linalg.solve(gram, rest[rows])
        pair = [torch.full_like(every, first + node), every][:: 1 - 2 * end]
        expected = cold.score(*pair) + added
        found = later.score(*pair)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        grid = torch.cat([*later.score_all(pair[0].unique(), pair[1].unique())])
        torch.testing.assert_close(grid.flatten(), expected, atol=1e-6, rtol=0)
        for k in (0, 8, int(scorer.cold[SIDES[1 - end]].nonzero()[0])):
            parts = later.explain(*(int(row[k]) for row in pair))
            assert len(parts.contributions) == len(tiny_data.rating) + 4
            for total in (parts.contributions.sum(), parts.components.sum()):
                assert float(total) + parts.mean == pytest.approx(float(found[k]))
        assert not rows or (found - cold.score(*pair)).abs().max() > 0.05
