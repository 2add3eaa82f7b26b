import math

import pytest
import torch

from tanp.loader import EpisodeLoader
from tanp.loss import clustering_loss, kl_divergence, tanp_loss, target_distribution
from tanp.nn import Gaussian


def gaussians():
    torch.manual_seed(0)
    return [Gaussian(*torch.randn(2, 5, 3, dtype=torch.double)) for _ in range(2)]


def test_divergence_is_that_of_two_normals():
    q, p = gaussians()
    normal = [torch.distributions.Normal(g.mu, (0.5 * g.logvar).exp()) for g in (q, p)]
    expected = torch.distributions.kl_divergence(*normal).sum(-1)
    assert torch.allclose(kl_divergence(q, p), expected)
    assert kl_divergence(q, q).abs().max() < 1e-12


def test_target_against_a_loop():
    assignment = torch.rand(6, 3, dtype=torch.double).softmax(-1)
    frequency = [sum(float(row[j]) for row in assignment) for j in range(3)]
    for row, target in zip(assignment, target_distribution(assignment), strict=True):
        weight = [float(c) ** 2 / f for c, f in zip(row, frequency, strict=True)]
        expected = torch.tensor(weight, dtype=torch.double) / sum(weight)
        assert torch.allclose(target, expected)


def test_clustering_sharpens():
    torch.manual_seed(0)
    logit = torch.randn(8, 3, requires_grad=True)
    before = logit.softmax(-1).max(-1).values.mean()
    for _ in range(50):
        loss = clustering_loss(logit.softmax(-1))
        (gradient,) = torch.autograd.grad(loss, logit)
        logit = (logit - gradient).detach().requires_grad_()
    assert logit.softmax(-1).max(-1).values.mean() > before + 0.05


def test_the_published_target_flattens():
    uniform = torch.full((4, 7), 1 / 7)
    ones = torch.ones(4, 7)
    # The plateau of the published loss, without its prediction term.
    assert float(clustering_loss(uniform, ones)) == pytest.approx(7 * math.log(7), 1e-5)


@torch.no_grad()
@pytest.mark.parametrize('likelihood', ['bernoulli', 'gaussian'])
def test_terms_against_a_loop(small, tasks, likelihood):
    model = small(likelihood=likelihood).double().train()
    (batch,) = EpisodeLoader(tasks, 6)
    output = model(batch)
    terms = tanp_loss(output, likelihood, kl_weight=0.3, clustering_weight=0.7)
    kl = kl_divergence(output.posterior, output.prior)
    by_point = tanp_loss(output, likelihood, average='point')
    prediction, divergence, points = [], [], []
    for b in range(6):
        mine = output.rows.task == b
        errors = []
        for s, y in zip(
            output.score[mine].tolist(), output.label[mine].tolist(), strict=True
        ):
            if likelihood == 'gaussian':
                errors.append((s - y) ** 2)
            else:
                errors.append(math.log1p(math.exp(-s if y else s)))
        points += errors
        prediction.append(sum(errors) / len(errors))
        divergence.append(float(kl[b]) / len(errors))
    assert float(terms['prediction']) == pytest.approx(sum(prediction) / 6)
    assert float(terms['kl']) == pytest.approx(sum(divergence) / 6)
    assert float(by_point['prediction']) == pytest.approx(sum(points) / len(points))
    assert float(by_point['kl']) == pytest.approx(float(kl.sum()) / len(points))
    total = terms['prediction'] + 0.3 * terms['kl'] + 0.7 * terms['clustering']
    assert float(terms['loss']) == pytest.approx(float(total))


def test_terms_of_parts_that_are_not_there(small, tasks):
    model = small('task path only').train()
    (batch,) = EpisodeLoader(tasks, 6)
    terms = tanp_loss(model(batch))
    assert set(terms) == {'prediction', 'loss'}
    assert terms['loss'] == terms['prediction']


def test_an_unknown_average(small, tasks):
    (batch,) = EpisodeLoader(tasks, 6)
    output = small().train()(batch)
    with pytest.raises(ValueError, match=r"'average' must be one of .*got 'user'"):
        tanp_loss(output, average='user')
