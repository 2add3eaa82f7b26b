import math

import pytest
import torch

from tanp import tanp_loss
from tanp.loss import kl_divergence
from tanp.nn import Gaussian
from tests.tanp.conftest import whole


def test_samples_have_the_mean_and_the_spread_of_their_normal():
    torch.manual_seed(0)
    mu, logvar = torch.tensor([1.0, -2.0]), torch.tensor([2.0, -1.0])
    sample = Gaussian(mu.expand(20_000, -1), logvar.expand(20_000, -1)).sample()
    assert torch.allclose(sample.mean(0), mu, atol=0.05)
    assert torch.allclose(sample.std(0), (logvar / 2).exp(), rtol=0.03)


@torch.no_grad()
@pytest.mark.parametrize('likelihood', ['bernoulli', 'gaussian'])
def test_terms_against_a_loop(small, tasks, likelihood):
    output = small(likelihood=likelihood).double().train()(whole(tasks))
    terms = tanp_loss(output, likelihood, kl_weight=0.3, clustering_weight=0.7)
    by_point = tanp_loss(output, likelihood, reduction='point')
    kl = kl_divergence(output.posterior, output.prior)
    prediction, divergence, points = [], [], []
    for b in range(6):
        scored = (value[b][output.mask[b]].tolist() for value in output[:2])
        errors = [
            (s - y) ** 2
            if likelihood == 'gaussian'
            else math.log1p(math.exp(-s if y else s))
            for s, y in zip(*scored, strict=True)
        ]
        points += errors
        prediction.append(sum(errors) / len(errors))
        divergence.append(float(kl[b]) / len(errors))
    assert float(terms['prediction']) == pytest.approx(sum(prediction) / 6)
    assert float(terms['kl']) == pytest.approx(sum(divergence) / 6)
    assert float(by_point['prediction']) == pytest.approx(sum(points) / len(points))
    assert float(by_point['kl']) == pytest.approx(float(kl.sum()) / len(points))
    total = terms['prediction'] + 0.3 * terms['kl'] + 0.7 * terms['clustering']
    assert float(terms['loss']) == pytest.approx(float(total))


def test_terms_of_parts_that_a_model_lacks_are_left_out(small, tasks):
    terms = tanp_loss(small('task path only').train()(whole(tasks)))
    assert set(terms) == {'prediction', 'loss'}
    assert terms['loss'] == terms['prediction']
