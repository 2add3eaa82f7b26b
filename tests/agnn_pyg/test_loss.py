import inspect
import math

import pytest
import torch

from agnn_pyg.agnn_config import NetworkTrainingConfig
from agnn_pyg.loss import (
    agnn_loss,
    embedding_terms,
    kl_divergence,
    published_terms,
    sampled_softmax,
)
from agnn_pyg.nn import EVAEOutput, NodeState


def node_state(cold, seed=0, generate_bias=True):
    """A random state of nodes, every part of which may get a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(size, generator=generator).requires_grad_()

    n = len(cold)
    evae = EVAEOutput(random(n, 3 + generate_bias), *(random(n, 2) for _ in range(3)))
    parts = random(n, 3), random(n), random(n, 4), evae, torch.tensor(cold)
    return NodeState(*parts, random(n, 3), random(n, 3))


def reconstruction(state):
    return embedding_terms(state)[0]


def embedding_norm(state):
    return embedding_terms(state)[1]


MIXED = (False, True, False, False)


@pytest.mark.parametrize('generate_bias', [False, True])
def test_reconstruction_against_a_loop(generate_bias):
    state = node_state(MIXED, generate_bias=generate_bias)
    total = 0.0
    for node in (0, 2, 3):
        for channel in range(3 + generate_bias):
            made = state.evae.reconstruction[node, channel].item()
            total += (made - state.learned[node, channel].item()) ** 2
    assert reconstruction(state).item() == pytest.approx(total / 3, rel=1e-5)
    reconstruction(state).backward()
    assert state.learned.grad is None  # learned embeddings do not move
    gradient = state.evae.reconstruction.grad
    assert gradient[1].eq(0).all()
    assert gradient[[0, 2, 3]].ne(0).all()


def test_embedding_norm_against_a_loop_leaves_the_bias_out():
    state = node_state(MIXED)
    rows = [sum(v**2 for v in state.learned[node, :-1].tolist()) for node in (0, 2, 3)]
    assert embedding_norm(state).item() == pytest.approx(sum(rows) / 3, rel=1e-5)
    embedding_norm(state).backward()
    assert state.learned.grad[1].eq(0).all()
    assert state.learned.grad[:, -1].eq(0).all()


@pytest.mark.parametrize('term', [reconstruction, embedding_norm])
def test_terms_do_not_read_cold_nodes(term):
    state = node_state(MIXED)
    expected = term(state)
    with torch.no_grad():
        state.learned[1] = torch.nan
    assert torch.equal(term(state), expected)
    term(state).backward()
    for part in (state.learned, state.evae.reconstruction):
        assert part.grad is None or torch.isfinite(part.grad).all()
    assert term(node_state([True, True])) == 0


WEIGHTS = {'kl_weight': 0.3, 'reconstruction_weight': 0.7, 'embedding_l2': 0.11}


@torch.no_grad()
@pytest.mark.parametrize('published', [False, True])
def test_the_loss_is_the_weighted_sum_of_its_terms(published):
    states = node_state(MIXED, seed=1), node_state([True, False], seed=2)
    rating, predicted = torch.tensor([1, 5, 3]), torch.tensor([2.0, 4.5, 3])
    pairs = torch.tensor([[0, 3, 3], [1, 0, 1]]) if published else None
    terms = agnn_loss(rating, predicted, states, published=pairs, **WEIGHTS)
    expected = {'mse': (1 + 0.25 + 0) / 3}
    expected |= {'kl': sum(kl_divergence(s.evae.mu, s.evae.logvar) for s in states)}
    expected |= {'reconstruction': sum(map(reconstruction, states))}
    expected |= {'embedding_l2': sum(map(embedding_norm, states))}
    if published:
        both = [published_terms(*part) for part in zip(states, pairs, strict=True)]
        expected |= {'kl': both[0][0] + both[1][0]}
        expected |= {'reconstruction': both[0][1] + both[1][1]}
    assert set(terms) == {*expected, 'loss'}
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(float(value), rel=1e-5), name
    total = expected['mse'] * (3 if published else 1)
    for name, weight in WEIGHTS.items():
        total += weight * float(expected[name.removesuffix('_weight')])
        default = inspect.signature(agnn_loss).parameters[name].default
        assert default == NetworkTrainingConfig.defaults()[name]
    assert float(terms['loss']) == pytest.approx(total, rel=1e-5)
    column = agnn_loss(rating[:, None], predicted, states, published=pairs, **WEIGHTS)
    assert torch.equal(column['loss'], terms['loss'])


@torch.no_grad()
def test_ranking_takes_the_place_of_the_squared_error():
    states = node_state(MIXED, seed=1), node_state([True, False], seed=2)
    parts = torch.ones(3), torch.randn(3), states
    loss, ranked = (agnn_loss(*parts, ranking=r) for r in (None, torch.tensor(7.0)))
    assert {*ranked} == {*loss} - {'mse'} | {'ranking'}
    gap = 7 - float(loss['mse'])
    assert float(ranked['loss'] - loss['loss']) == pytest.approx(gap, rel=1e-4)


def ranked_pairs():
    """Scores of 4 users and 5 sampled items; the last user has all as positives."""
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(4, 5, generator=generator).double()
    row = torch.tensor([0, 2, 2, 3, 1, 0])
    positive = torch.randn(6, generator=generator).double()
    is_positive = torch.rand(4, 5, generator=generator) < 0.4
    is_positive[3] = True
    weight = torch.rand(6, generator=generator).double() + 0.5
    return positive, score, row, is_positive, weight


@pytest.mark.parametrize('is_sampled', [False, True])
def test_sampled_softmax_against_a_loop(is_sampled):
    positive, score, row, is_positive, weight = ranked_pairs()
    log_q = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7]).double().log() * is_sampled
    total = 0.0
    for pair, user in enumerate(row.tolist()):
        unobserved = is_positive[user].logical_not().nonzero().flatten()
        others = sum(math.exp(score[user, j] - log_q[j]) for j in unobserved)
        own = math.exp(positive[pair])
        total -= float(weight[pair]) * math.log(own / (own + others))
    parts = positive, score, row, is_positive, log_q
    found = sampled_softmax(*parts, weight)
    assert float(found) == pytest.approx(total / float(weight.sum()), rel=1e-9)
    alike = sampled_softmax(*parts, torch.full_like(weight, 3.0))
    assert float(alike) == pytest.approx(float(sampled_softmax(*parts)), rel=1e-9)

    def loss(positive, score):
        return sampled_softmax(positive, score, row, is_positive, log_q, weight)

    inputs = positive.requires_grad_(), score.requires_grad_()
    assert torch.autograd.gradcheck(loss, inputs)


def test_a_corrected_sample_estimates_the_sum_over_all_items():
    score = torch.randn(1, 200, generator=torch.Generator().manual_seed(0)).double()
    q, generator = torch.linspace(0.1, 0.9, 200).double(), torch.Generator()
    generator.manual_seed(1)
    sums = []
    for _ in range(2000):
        kept = torch.rand(200, generator=generator) < q
        none = torch.zeros(1, int(kept.sum()), dtype=torch.bool)
        parts = torch.zeros(1).double(), score[:, kept], torch.tensor([0]), none
        loss = sampled_softmax(*parts, q[kept].log())
        sums.append(float(loss.exp()) - 1)
    expected = float(score.exp().sum())
    assert sum(sums) / 2000 == pytest.approx(expected, rel=0.02)
