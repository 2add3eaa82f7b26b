import math

import pandas as pd
import pytest
import torch

from agnn_pyg.base.encoder import AttributeEncoder
from tanp.loader import EpisodeLoader
from tanp.loss import tanp_loss
from tanp.model import TaNP
from tanp.nn import (
    ClusterMemory,
    ModulatedDecoder,
    NodeEmbedding,
    SetEncoder,
    SupportAttention,
)
from tanp.nn.rows import mean_by, rows_of
from tests.tanp.conftest import SMALL, VARIANTS

ATTRIBUTES = AttributeEncoder(['land', 'genre']).fit_transform(
    pd.DataFrame(
        {
            'land': ['FR', 'JP'] * 10,
            'genre': [['war'], ['love', 'sea'], ['sea'], []] * 5,
        }
    )
)


@pytest.fixture(autouse=True)
def no_noise(monkeypatch):
    monkeypatch.setattr(torch, 'randn_like', torch.zeros_like)


def whole(tasks):
    (batch,) = EpisodeLoader(tasks, len(tasks))
    return batch


def per_task(output):
    return [output.score[output.rows.task == b] for b in range(output.rows.num_tasks)]


def poison(batch):
    """The same batch with NaN and strange items where there is only padding."""
    parts = batch._asdict()
    for side in ('support', 'query'):
        mask = parts[f'{side}_mask']
        label, item = parts[f'{side}_label'], parts[f'{side}_item']
        parts[f'{side}_label'] = label.masked_fill(~mask, torch.nan)
        parts[f'{side}_item'] = item.masked_fill(~mask, 10**6)
    return batch._replace(**parts)


def narrow(tasks):
    """Tasks whose supports differ in size, so that they are padded."""
    parts = [
        tasks.select(torch.tensor([i])).with_support_size(i % 3 + 1) for i in range(6)
    ]
    batches = [whole(part) for part in parts]
    joined = []
    for name in batches[0]._fields:
        values = [value for batch in batches for value in getattr(batch, name)]
        if name == 'user':
            joined.append(torch.stack(values))
        else:
            joined.append(torch.nn.utils.rnn.pad_sequence(values, batch_first=True))
    return type(batches[0])(*joined), batches


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('training', [False, True])
def test_a_batch_equals_its_tasks_one_by_one(small, tasks, variant, training):
    model = small(variant).double().train(training)
    batch, alone = narrow(tasks)
    together = model(batch)
    for number, one in enumerate(alone):
        output = model(one)
        assert torch.allclose(per_task(together)[number], output.score, 1e-12, 1e-12)
        for name in ('prior', 'posterior'):
            for part, other in zip(
                getattr(together, name) or (), getattr(output, name) or (), strict=True
            ):
                assert torch.allclose(part[number], other[0], 1e-12, 1e-12)


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('training', [False, True])
def test_padding_never_leaks(small, tasks, variant, training):
    model = small(variant).train(training)
    batch, _ = narrow(tasks)
    assert not batch.support_mask.all()
    clean = model(batch)
    dirty = model(poison(batch))
    assert torch.equal(clean.score, dirty.score)
    tanp_loss(dirty, model.likelihood)['loss'].backward()
    assert all(
        p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters()
    )


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_order_of_a_support_does_not_matter(small, tasks, variant):
    model = small(variant).double().eval()
    batch = whole(tasks)
    order = torch.tensor([2, 0, 1])
    permuted = batch._replace(
        **{
            name: getattr(batch, name)[:, order]
            for name in ('support_item', 'support_label', 'support_mask')
        }
    )
    assert torch.allclose(model(batch).score, model(permuted).score, 1e-12, 1e-12)


@pytest.mark.parametrize('variant', VARIANTS)
def test_predictions_never_read_the_labels_of_the_query(small, tasks, variant):
    model = small(variant).eval()
    batch = whole(tasks)
    blind = batch._replace(query_label=torch.full_like(batch.query_label, torch.nan))
    assert torch.equal(model(batch).score, model(blind).score)


@pytest.mark.parametrize('variant', VARIANTS)
def test_one_step_on_a_batch_is_one_step_on_its_tasks(small, tasks, variant):
    batch, alone = narrow(tasks)
    models = [small(variant).double().train() for _ in range(2)]
    for model in models:
        # The clustering loss belongs to a whole batch.
        weights = {'clustering_weight': 0.0}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if model is models[0]:
            loss = tanp_loss(model(batch), model.likelihood, **weights)['loss']
        else:
            losses = [
                tanp_loss(model(one), model.likelihood, **weights)['loss']
                for one in alone
            ]
            loss = torch.stack(losses).mean()
        loss.backward()
        optimizer.step()
    for (name, one), other in zip(
        models[0].named_parameters(), models[1].parameters(), strict=True
    ):
        assert torch.allclose(one, other, 1e-10, 1e-12), name


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_support_matters_and_every_parameter_learns(small, tasks, variant):
    model = small(variant).train()
    batch = whole(tasks)
    tanp_loss(model(batch), model.likelihood)['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    model.eval()
    flipped = batch._replace(support_label=1 - batch.support_label)
    assert not torch.allclose(model(batch).score, model(flipped).score)


def test_the_published_target_holds_the_support(small, tasks):
    model = small('published').train()
    batch = whole(tasks)
    output = model(batch)
    assert output.score.numel() == int(
        batch.support_mask.sum() + batch.query_mask.sum()
    )
    assert model.eval()(batch).score.numel() == int(batch.query_mask.sum())


@pytest.mark.parametrize('variant', ['film', 'task path only'])
def test_a_task_without_support(small, tasks, variant):
    model = small(variant).eval()
    empty = tasks.with_support_size(0)
    (batch,) = EpisodeLoader(empty, 6, allow_empty=True)
    score = model(batch).score
    assert torch.isfinite(score).all()
    # Nothing tells tasks apart: equal items score the same.
    item = batch.query_item[batch.query_mask]
    for one in item.unique():
        assert torch.allclose(score[item == one], score[item == one][0])


def test_an_unknown_user_is_never_read(small, tasks):
    model = small('published').eval()
    model.know(torch.arange(3), torch.arange(20))
    batch = whole(tasks)
    before = per_task(model(batch))
    with torch.no_grad():
        model.inputs.user.id_weight[4:] = torch.nan
    after = per_task(model(batch))
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    # Two unknown users with the same support are the same user.
    same = batch._replace(user=torch.tensor([3, 4, 5, 3, 4, 5]))
    assert torch.equal(
        model(same).score, model(batch._replace(user=same.user.roll(1))).score
    )


def test_an_unknown_item_has_its_attributes():
    embedding = NodeEmbedding(20, 6, 5, attributes=ATTRIBUTES)
    embedding.know(torch.arange(10))
    with torch.no_grad():
        embedding.id_weight[11:] = torch.nan
    x = embedding(torch.arange(20))
    assert torch.isfinite(x).all()
    # Items 12 and 16 have the attributes of item 8, but unlike it no id.
    assert torch.equal(x[12], x[16])
    assert not torch.equal(x[12], x[8])
    assert not torch.equal(x[12], x[13])


def test_a_linear_layer_on_one_hots_is_a_row_plus_the_bias():
    embedding = NodeEmbedding(20, 6, 5, attributes=ATTRIBUTES).double()
    tokens = torch.zeros(20, ATTRIBUTES.num_tokens).scatter_add_(
        1, ATTRIBUTES.index, ATTRIBUTES.weight
    )
    dense = torch.cat([torch.eye(20), tokens[:, 1:]], dim=1).double()
    weight = torch.cat([embedding.id_weight[1:], embedding.token_weight[1:]])
    hidden = (dense @ weight + embedding.bias).relu()
    expected = embedding.lin(hidden).relu()
    assert torch.allclose(embedding(torch.arange(20)), expected, 1e-12, 1e-12)


def test_id_dropout_trains_the_unknown():
    torch.manual_seed(0)
    embedding = NodeEmbedding(20, 6, 5, id_dropout=0.5).train()
    node = torch.zeros(2000, dtype=torch.long)
    kinds, count = embedding(node).unique(dim=0, return_counts=True)
    assert len(kinds) == 2
    assert (count / 2000 - 0.5).abs().max() < 0.05
    assert len(embedding.eval()(node).unique(dim=0)) == 1


@pytest.mark.parametrize('squared', [False, True])
def test_memory_against_a_loop(squared):
    torch.manual_seed(0)
    memory = ClusterMemory(4, 3, temperature=2.0, squared=squared).double()
    task = torch.randn(5, 4, dtype=torch.double)
    mixed, assignment = memory(task)
    for b in range(5):
        kernel = []
        for center in memory.center:
            d = math.dist(task[b].tolist(), center.tolist())
            kernel.append((1 + (d * d if squared else d) / 2) ** -1.5)
        expected = torch.tensor(kernel, dtype=torch.double) / sum(kernel)
        assert torch.allclose(assignment[b], expected)
        assert torch.allclose(mixed[b], task[b] + expected @ memory.center)


@pytest.mark.parametrize(
    'layer',
    [
        SetEncoder(3, (4, 2)),
        ModulatedDecoder(3, 2, 4, (5, 4), 'gating', residual=False),
        ModulatedDecoder(3, 2, 4, (5, 4), 'film'),
    ],
)
def test_gradients(layer):
    torch.manual_seed(0)
    layer = layer.double()
    task = torch.tensor([0, 0, 1, 1, 1, 0])

    def random(*size):
        return torch.randn(size, dtype=torch.double, requires_grad=True)

    if isinstance(layer, SetEncoder):
        assert torch.autograd.gradcheck(
            lambda x, y: layer(x, y, task, 2), (random(6, 3), random(6))
        )
    else:
        assert torch.autograd.gradcheck(
            lambda x, o, z: layer(x, task, o, z),
            (random(6, 3), random(2, 4), random(2, 2)),
        )


def test_rows_against_a_loop():
    mask = torch.tensor([[True, False, True], [False] * 3, [True, True, False]])
    rows = rows_of(mask)
    padded = torch.arange(18.0).view(3, 3, 2)
    taken = rows.take(padded)
    assert torch.equal(taken, padded[mask])
    assert torch.equal(rows.pad(taken), padded * mask[..., None])
    means = mean_by(taken, rows.task, 3)
    for b in range(3):
        expected = padded[b][mask[b]].mean(0) if mask[b].any() else torch.zeros(2)
        assert torch.equal(means[b], expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'target': 'support'}, "'target' must be one of"),
        ({'likelihood': 'poisson'}, "'likelihood' must be one of"),
        ({'modulation': 'none'}, "'modulation' must be one of"),
        ({'latent_channels': (4, 3)}, r"'latent_channels' must be .* 3 or more"),
        ({'latent_channels': (8, 4, 0)}, r"'latent_channels' .*got \(8, 4, 0\)"),
        ({'decoder_channels': ()}, r"'decoder_channels' must be .*at least one"),
        ({'task_channels': [4, -2]}, r"'task_channels' .*got \[4, -2\]"),
        ({'task_channels': 8}, r"'task_channels' must be a list.*\(got 8\)"),
        ({'embedding_channels': (4,)}, r"'embedding_channels' must be .* of 2"),
        ({'num_items': 0}, r"'num_items' must be .*at least 1 \(got 0\)"),
        ({'num_users': -1}, r"'num_users' must be .*at least 0 \(got -1\)"),
        ({'num_clusters': 2.5}, r"'num_clusters' must be .* \(got 2.5\)"),
        ({'attention_heads': -1}, r"'attention_heads' must be .*\(got -1\)"),
        ({'processes': -1}, r"'processes' must be .*\(got -1\)"),
        ({'dropout': 1.0}, r"'dropout' must be .*\[0, 1\) \(got 1.0\)"),
        ({'dropout': 'some'}, r"'dropout' must be .*\[0, 1\) \(got 'some'\)"),
        ({'id_dropout': -0.1}, r"'id_dropout' must be .*\[0, 1\)"),
        ({'temperature': 0}, "'temperature' must be a number, above 0"),
        ({'item_ids': False}, "'item_ids' is False, and there are neither"),
        ({'item_attributes': ATTRIBUTES, 'num_items': 7}, 'describe all 7 nodes'),
        ({'user_ids': True, 'num_users': 0}, "'num_nodes' must be at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TaNP(**{'num_items': 20} | SMALL | options)


def test_modules_start_anew(small):
    model = small('published')
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.reset_parameters()
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_attention_against_a_loop():
    torch.manual_seed(0)
    layer = SupportAttention(3, 2, heads=2, head_channels=4, hidden_channels=5).double()
    with torch.no_grad():
        layer.sink += torch.tensor([0.3, -0.2])

    def random(*size):
        return torch.randn(size, dtype=torch.double)

    query, support, kernel = random(1, 2, 3), random(1, 4, 3), random(1, 2, 4, 2)
    surprise = torch.tensor([[1.0, -1.0, 0.5, 9.0]], dtype=torch.double)
    mask = torch.tensor([[True, True, True, False]])
    found = layer(query, support, surprise, mask, kernel)[0]
    for q in range(2):
        read, totals = [], torch.zeros(4, dtype=torch.double)
        scores, values = [], []
        for s in range(3):
            labelled = torch.cat([support[0, s], surprise[0, s, None]])
            up, down = surprise[0, s].clamp(min=0), (-surprise[0, s]).clamp(min=0)
            signed = torch.cat([kernel[0, q, s] * up, kernel[0, q, s] * down])
            totals += signed
            key = layer.lin_key(labelled).view(2, 4)
            product = (layer.lin_query(query[0, q]).view(2, 4) * key).sum(-1) / 2
            scores.append(product + layer.lin_kernel(signed))
            values.append(layer.lin_value(layer.lin_hidden(labelled).relu()).view(2, 4))
        weight = torch.stack([*scores, layer.sink]).softmax(0)
        for head in range(2):
            read.append(sum(weight[s, head] * values[s][head] for s in range(3)))
        ups, downs = max(1.0, 1.5), max(1.0, 1.0)
        mean = totals / torch.tensor([ups, ups, downs, downs])
        expected = torch.cat([*read, totals, mean])
        assert torch.allclose(found[q], expected, 1e-10, 1e-10)


def test_attention_to_an_empty_support_reads_nothing():
    layer = SupportAttention(3, 2)
    nothing = torch.zeros(2, 0)
    found = layer(
        torch.randn(2, 5, 3),
        torch.zeros(2, 0, 3),
        nothing,
        nothing > 0,
        torch.zeros(2, 5, 0, 2),
    )
    assert found.size() == (2, 5, layer.out_channels)
    assert found.eq(0).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'attention_heads': 2}, "'attention_heads' needs 'statistics'"),
        ({'processes': 2}, "'processes' needs 'statistics'"),
        ({'signed_pools': True}, "'signed_pools' needs 'statistics'"),
    ],
)
def test_what_needs_statistics(options, message):
    with pytest.raises(ValueError, match=message):
        TaNP(20, **SMALL, **options)


@pytest.mark.parametrize('variant', ['attentive', 'regression'])
def test_items_must_not_attend_to_themselves(small, variant):
    with pytest.raises(ValueError, match=r"'target' 'query' .got 'all'"):
        small(variant, target='all')


def test_ratings_with_statistics(small, tasks):
    model = small('attentive', likelihood='gaussian').eval()
    with torch.no_grad():
        for layer in (model.decoder.lin_out, model.lin_counts):
            layer.weight.zero_()
            layer.bias.zero_()
    batch = whole(tasks)
    base = model.inputs.statistics(batch, centred=True).base
    # What is left to learn is how labels differ from what is to be expected.
    assert torch.allclose(
        model(batch).score, base[batch.support_mask.sum() :], atol=1e-6
    )
