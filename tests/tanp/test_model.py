import math

import pytest
import torch

from tanp import TaNP, tanp_loss
from tests.tanp.conftest import (
    ATTENTIVE,
    VARIANTS,
    poisoned,
    uneven,
    whole,
    with_support_size,
)

EACH = pytest.mark.parametrize('variant', VARIANTS)
MODES = pytest.mark.parametrize('training', [False, True])


@pytest.fixture(autouse=True)
def no_noise(monkeypatch):
    monkeypatch.setattr(torch, 'randn_like', torch.zeros_like)


def close(one, other):
    return torch.allclose(one, other, 1e-12, 1e-12)


@EACH
@MODES
def test_a_batch_equals_its_tasks_one_by_one(small, tasks, variant, training):
    """Whatever the padding of the batch holds."""
    model = small(variant).double().train(training)
    batch, alone = uneven(tasks)
    assert not batch.support_mask.all()
    together = model(poisoned(batch))
    for number, one in enumerate(alone):
        output = model(one)
        score = together.score[number][together.mask[number]]
        assert close(score, output.score[output.mask])
        for name in ('prior', 'posterior'):
            pair = getattr(together, name) or (), getattr(output, name) or ()
            assert all(close(a[number], b[0]) for a, b in zip(*pair, strict=True))
    tanp_loss(together, model.likelihood)['loss'].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@EACH
def test_no_order_of_a_support_and_no_label_of_a_query_matters(small, tasks, variant):
    model, batch = small(variant).double().eval(), whole(tasks)
    names = ('support_item', 'support_label', 'support_mask')
    order = torch.tensor([2, 0, 1])
    parts = {name: getattr(batch, name)[:, order] for name in names}
    assert close(model(batch).score, model(batch._replace(**parts)).score)
    blind = batch._replace(query_label=torch.full_like(batch.query_label, torch.nan))
    assert torch.equal(model(batch).score, model(blind).score)


@EACH
def test_every_parameter_learns_and_the_support_matters(small, tasks, variant):
    model, batch = small(variant).train(), whole(tasks)
    tanp_loss(model(batch), model.likelihood)['loss'].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    model.eval()
    flipped = batch._replace(support_label=1 - batch.support_label)
    assert not torch.allclose(model(batch).score, model(flipped).score)


def test_without_a_support_all_users_are_equal(small, tasks):
    for variant in ['film', 'task path only', 'attentive']:
        model, empty = small(variant).eval(), with_support_size(tasks, 0)
        batch = whole(empty)._replace(user=torch.full((6,), 5))
        score, item = model(batch).score[batch.query_mask], batch.query_item
        for one in item[batch.query_mask].unique():
            equal = score[item[batch.query_mask] == one]
            assert torch.allclose(equal, equal[0].expand_as(equal))


def test_what_is_learned_of_ratings_is_the_difference_to_the_expected(small, tasks):
    model, batch = small('attentive', likelihood='gaussian').eval(), whole(tasks)
    with torch.no_grad():
        for layer in (model.decoder.lin_out, model.lin_popularity):
            layer.weight.zero_()
            layer.bias.zero_()
    features = model.statistics.features
    support = features(batch.user, batch.support_item)
    query = features(batch.user, batch.query_item)
    excess = (batch.support_label - support.mean).sum(1, keepdim=True)
    assert torch.allclose(model(batch).score, query.mean + excess / (3 + 5), atol=1e-6)


@pytest.mark.parametrize('variant', ['published', 'everything'])
def test_reset_parameters_draws_all_of_them(small, variant):
    model = small(variant)
    before = [p.clone() for p in model.parameters()]
    model.reset_parameters()
    changed = zip(model.named_parameters(), before, strict=True)
    same = [name for (name, p), old in changed if torch.equal(p, old)]
    assert same == (['attention.sink', 'gp.noise'] if variant in ATTENTIVE else [])


def test_options_out_of_range_are_refused(small, attributes):
    for variant, options, name in [
        ('film', {'latent_channels': (4, 3)}, 'latent_channels'),
        ('film', {'modulation': 'none'}, 'modulation'),
        ('film', {'dropout': 1.0}, 'dropout'),
        ('film', {'item_ids': False}, 'item_ids'),
        ('film', {'likelihood': 'poisson'}, 'likelihood'),
        ('film', {'dropuot': 0.1}, 'dropout'),
        ('attentive', {'attention_heads': -1}, 'attention_heads'),
        ('attentive', {'predict_support': True}, 'predict_support'),
    ]:
        with pytest.raises(ValueError, match=name):
            small(variant, **options)
    with pytest.raises(ValueError, match='7 nodes'):
        TaNP(7, item_attributes=attributes)
    with pytest.raises(ValueError, match='num_nodes'):
        TaNP(20, 0, user_ids=True)


@pytest.mark.parametrize('likelihood', ['gaussian', 'bernoulli', 'implicit'])
def test_residuals_and_their_summary_against_a_loop(small, tasks, likelihood):
    model, batch = small('attentive', likelihood=likelihood).eval(), uneven(tasks)[0]
    support = model.statistics.features(batch.user, batch.support_item)
    code = model.encode(batch)
    for b in range(6):
        mask = batch.support_mask[b]
        label, mean = batch.support_label[b][mask], support.mean[b][mask]
        level = (label - mean).sum() / (len(label) + 5)
        residual = 2 * label - 1
        if likelihood == 'gaussian':
            residual = label - mean - level
            assert torch.allclose(code.level[b], level)
        assert torch.allclose(code.residual[b][mask], residual, atol=1e-6)
        up, down = int((residual > 0).sum()), int((residual <= 0).sum())
        logs = math.log1p(up), math.log1p(down)
        expected = up / 10, down / 10, *logs, (up - down) / (up + down + 2)
        assert code.summary[b].tolist() == pytest.approx(expected, abs=1e-6)
