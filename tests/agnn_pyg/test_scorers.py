from types import SimpleNamespace

import numpy as np
import pytest
import torch

from agnn_pyg.folds import SCENARIOS
from agnn_pyg.kernel.held_out import HeldOut
from agnn_pyg.scorers import PRIOR_WEIGHT, RANK_WEIGHTS, Blend, fit_ranking, fit_rate

COLD = {'user': torch.tensor([False, True]), 'item': torch.tensor([False, True])}
RATING = torch.randn(4000, generator=torch.Generator().manual_seed(0))


class Fake:
    """A scorer of one number, which held out some rows."""

    def __init__(self, value, held_out=None):
        self.value, self.cold = value, COLD
        self.held_out_ = held_out or {}

    def fit(self, data, validation=None, **run):
        return self

    def score(self, user, item):
        return torch.full((len(user),), self.value, dtype=torch.float64)

    def score_all(self, users, items):
        for block in users.split(1):
            yield torch.full((len(block), len(items)), self.value).double()


def noisy(seed, size, rows=slice(None)):
    generator = torch.Generator().manual_seed(seed)
    noise = size * torch.randn(len(RATING), generator=generator)
    return torch.arange(len(RATING))[rows], (RATING + noise)[rows]


def fit(network, kernel, nodes_of=1):
    blend = Blend(Fake(0.0, {'warm': network}), Fake(1.0, {'warm': kernel}))
    index = torch.arange(len(RATING)).expand(2, -1) // nodes_of
    data = SimpleNamespace(rating=RATING, edge_index=index)
    return blend.fit(data).weights_['warm']


def test_weight_is_the_inverse_of_the_error():
    """Of independent errors the best weights are as the inverse variances."""
    assert fit(noisy(1, 0.5), noisy(2, 1.0)) == pytest.approx(0.2, abs=0.03)
    # Rows may be in any order, and those of one model alone do not count.
    (row, one), (other_row, other) = noisy(1, 0.5), noisy(2, 1.0, slice(1, 3000))
    turn = torch.randperm(len(row), generator=torch.Generator().manual_seed(3))
    found = fit((row[turn], one[turn], RATING[turn]), (other_row, other))
    assert found == pytest.approx(0.2, abs=0.04)


def test_either_model_may_be_switched_off():
    row, best = noisy(1, 0.5)
    assert fit((row, best), (row, best + noisy(2, 1.0)[1] - RATING)) < 0.04
    assert fit((row, best + noisy(2, 1.0)[1] - RATING), (row, best)) > 0.97
    assert fit((row, best), (row, best)) == PRIOR_WEIGHT


def test_few_ratings_hardly_move_the_weight():
    few = slice(0, 3)
    found = fit(noisy(1, 0.5, few), noisy(2, 1.0, few))
    assert found == pytest.approx(PRIOR_WEIGHT, abs=0.05)
    # Those of few nodes move it less than as many of many nodes.
    generator, row = torch.Generator().manual_seed(4), torch.arange(len(RATING))
    errors = torch.randn(2, 40, generator=generator).repeat_interleave(100, dim=1)
    both = [(row, RATING + size * e) for size, e in zip((0.3, 1), errors, strict=True)]
    many, few = (fit(*both, nodes_of=n) for n in (1, 100))
    assert many + 0.02 < few < PRIOR_WEIGHT


def test_pairs_have_the_weight_of_their_scenario():
    weights = dict(zip(SCENARIOS, (0.1, 0.2, 0.3, 0.4), strict=True))
    blend = Blend(Fake(0.0), Fake(1.0), weights=weights)
    every = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    expected = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    torch.testing.assert_close(blend.score(*every), expected, atol=1e-7, rtol=0)
    grid = torch.cat(list(blend.score_all(torch.arange(2), torch.arange(2))))
    torch.testing.assert_close(grid.t().flatten(), expected, atol=1e-7, rtol=0)
    assert blend.weights(1, 0) == pytest.approx({'network': 0.8, 'kernel': 0.2})
    fixed = blend.with_weight(0.5)
    assert (fixed.score(*every) == 0.5).all()
    assert fixed.with_weight(None).score(*every).equal(blend.score(*every))


def test_the_better_ranking_has_the_weight():
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(200, 60, generator=generator) < 0.1).double()
    noise = torch.randn(2, 200, 60, generator=generator).double()
    nodes = torch.arange(200), torch.arange(60)
    fold = HeldOut(*nodes, truth, torch.zeros_like(truth, dtype=torch.bool))
    good, bad, other = truth + 0.4 * noise[0], noise[1], truth + 0.4 * noise[1]
    (scale, shift), weight = fit_ranking(fold, 5 * good - 3, bad)
    assert weight < 0.2
    aligned = scale * (5 * good - 3) + shift
    assert aligned.mean() == pytest.approx(float(bad.mean()), abs=1e-6)
    assert aligned.std(1).mean() == pytest.approx(float(bad.std(1).mean()))
    assert fit_ranking(fold, bad, good)[1] > 0.8
    # Of those within a standard error of the best, the one closest to the prior.
    (scale, shift), weight = fit_ranking(fold, good, other)
    gain = [fold.ndcg(torch.lerp(scale * good + shift, other, w)) for w in RANK_WEIGHTS]
    gap = max(gain, key=torch.mean) - torch.stack(gain)
    near = RANK_WEIGHTS[gap.mean(1) <= gap.std(1, correction=0) / 200**0.5]
    assert 0.3 < weight == min(near.tolist(), key=lambda w: abs(w - PRIOR_WEIGHT)) < 0.7
    # What one of them cannot tell apart has no scale of its own.
    same = torch.full_like(good, 0.3)
    assert fit_ranking(fold, good, same)[0] == (0.0, pytest.approx(0.3))
    assert fit_ranking(fold, same, good)[0] == (0.0, pytest.approx(float(good.mean())))
    # Where nothing tells them apart, the weight is the prior one.
    assert fit_ranking(fold, good, good)[1] == PRIOR_WEIGHT


def test_scales_make_scores_rates_of_positives():
    rng = np.random.default_rng(0)
    score, is_train = rng.normal(size=(30, 50)), rng.random((30, 50)) < 0.2
    truth = (rng.random((30, 50)) < 0.2 + 0.1 * score) & ~is_train
    nodes = torch.arange(30), torch.arange(50)
    fold = HeldOut(*nodes, *map(torch.tensor, (truth * 2.0, is_train)))
    expected = np.polyfit(score[~is_train], 4.0 * truth[~is_train], 1)
    assert np.allclose(fit_rate(fold, torch.tensor(score), 0.25), expected)
    # Scores that tell nothing keep their order, or give all pairs the mean rate.
    assert 0 < fit_rate(fold, torch.tensor(-score), 0.25)[0] < 0.01
    mean = 4 * truth[~is_train].mean()
    same = torch.zeros(30, 50, dtype=torch.float64)
    assert fit_rate(fold, same, 0.25) == (0.0, pytest.approx(mean))
