import math

import pytest
import torch

from agnn_pyg.loss import agnn_loss, kl_divergence, preference_terms
from agnn_pyg.nn import Generated, NodeState


def node_state(cold, seed=0, generate_bias=True):
    """A random state of nodes, every part of which may get a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(size, generator=generator).requires_grad_()

    count = len(cold)
    generated = Generated(
        random(count, 3 + generate_bias), random(count, 2), random(count, 2)
    )
    return NodeState(
        random(count, 3), random(count), random(count, 4), generated, torch.tensor(cold)
    )


def reconstruction(state):
    return preference_terms(state)[0]


def preference_norm(state):
    return preference_terms(state)[1]


MIXED = (False, True, False, False)


def test_divergence_against_a_loop(device):
    mu, logvar = torch.randn(2, 5, 3, device=device)
    rows = [
        sum(0.5 * (math.exp(v) + m**2 - 1 - v) for m, v in zip(*row, strict=True))
        for row in zip(mu.tolist(), logvar.tolist(), strict=True)
    ]
    assert float(kl_divergence(mu, logvar)) == pytest.approx(sum(rows) / 5, rel=1e-5)


def test_divergence_is_that_of_two_normals():
    mu, logvar = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    code = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    prior = torch.distributions.Normal(torch.zeros(5, 3), torch.ones(5, 3))
    expected = torch.distributions.kl_divergence(code, prior).sum(1).mean()
    assert torch.allclose(kl_divergence(mu, logvar), expected)


def test_divergence_is_zero_at_the_prior_only():
    zero = torch.zeros(3, 2)
    assert kl_divergence(zero, zero) == 0
    assert kl_divergence(zero + 0.1, zero) > 0
    assert kl_divergence(zero, zero - 0.1) > 0


@pytest.mark.parametrize('generate_bias', [False, True])
def test_reconstruction_against_a_loop(generate_bias):
    state = node_state(MIXED, generate_bias=generate_bias)
    width = 3 + generate_bias
    total = 0.0
    for node in (0, 2, 3):
        for channel in range(width):
            made = state.generated.preference[node, channel].item()
            total += (made - state.learnt[node, channel].item()) ** 2
    assert reconstruction(state).item() == pytest.approx(total / 3, rel=1e-5)


def test_reconstruction_holds_the_learnt_preference_fixed():
    state = node_state(MIXED)
    reconstruction(state).backward()
    assert state.learnt.grad is None
    gradient = state.generated.preference.grad
    assert gradient[1].eq(0).all()
    assert gradient[[0, 2, 3]].ne(0).all()


def test_preference_norm_against_a_loop_leaves_the_bias_out():
    state = node_state(MIXED)
    rows = [sum(v**2 for v in state.learnt[node, :-1].tolist()) for node in (0, 2, 3)]
    assert preference_norm(state).item() == pytest.approx(sum(rows) / 3, rel=1e-5)
    preference_norm(state).backward()
    assert state.learnt.grad[1].eq(0).all()
    assert state.learnt.grad[:, -1].eq(0).all()


@pytest.mark.parametrize('term', [reconstruction, preference_norm])
def test_without_warm_nodes_there_is_nothing_to_compare(term):
    state = node_state([True, True])
    value = term(state)
    assert value == 0
    value.backward()
    for part in (state.learnt, state.generated.preference):
        assert part.grad is None or part.grad.eq(0).all()


@pytest.mark.parametrize('term', [reconstruction, preference_norm])
def test_the_value_does_not_read_cold_rows(term):
    state = node_state(MIXED)
    expected = term(state)
    with torch.no_grad():
        state.learnt[1] = torch.nan
    assert torch.equal(term(state), expected)


@pytest.mark.parametrize('term', [reconstruction, preference_norm])
def test_the_gradient_does_not_read_cold_rows(term):
    state = node_state(MIXED)
    with torch.no_grad():
        state.learnt[1] = torch.nan
    term(state).backward()
    for part in (state.learnt, state.generated.preference):
        assert part.grad is None or torch.isfinite(part.grad).all()


@torch.no_grad()
def test_terms_and_their_weighted_sum():
    user, item = node_state(MIXED, seed=1), node_state([True, False], seed=2)
    rating, predicted = torch.tensor([1.0, 5, 3]), torch.tensor([2.0, 4.5, 3])
    weights = {
        'kl_weight': 0.3,
        'reconstruction_weight': 0.7,
        'preference_weight': 0.11,
    }
    terms = agnn_loss(rating, predicted, user, item, **weights)
    sides = user, item
    expected = {
        'mse': (1 + 0.25 + 0) / 3,
        'kl': sum(kl_divergence(s.generated.mu, s.generated.logvar) for s in sides),
        'reconstruction': sum(map(reconstruction, sides)),
        'preference': sum(map(preference_norm, sides)),
    }
    assert set(terms) == {*expected, 'loss'}
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(float(value), rel=1e-5), name
    total = expected['mse'] + sum(
        weight * float(expected[name.removesuffix('_weight')])
        for name, weight in weights.items()
    )
    assert float(terms['loss']) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize('term', ['kl', 'reconstruction', 'preference'])
def test_each_weight_scales_its_own_term(term):
    user, item = node_state(MIXED, seed=1), node_state([True, False], seed=2)
    rating = torch.ones(2)
    off = {f'{name}_weight': 0.0 for name in ('kl', 'reconstruction', 'preference')}
    plain = agnn_loss(rating, rating, user, item, **off)
    assert plain['loss'] == plain['mse'] == 0
    terms = agnn_loss(rating, rating, user, item, **(off | {f'{term}_weight': 2.0}))
    assert torch.allclose(terms['loss'], 2 * terms[term])
