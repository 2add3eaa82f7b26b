"""Layers against loops written from their formulas, in double precision."""

import math

import pytest
import torch
import torch.nn.functional as F

from tanp.nn import (
    ClusterMemory,
    LatentEncoder,
    ModulatedDecoder,
    NodeEmbedding,
    SetEncoder,
    SupportAttention,
    SupportGP,
)
from tests.conftest import assert_redrawn


def random(*size):
    return torch.randn(size, dtype=torch.double)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_a_layer_by_itself_redraws_all_its_parameters():
    assert_redrawn(SetEncoder(3, (4, 5)))
    assert_redrawn(LatentEncoder(3, (4, 5, 6)))
    assert_redrawn(ModulatedDecoder(3, 2, 4, (5, 6)))
    assert_redrawn(SupportAttention(3, 2))
    assert_redrawn(ClusterMemory(2, 3))


def test_embedding_is_a_perceptron_on_one_hots(attributes):
    embedding = NodeEmbedding(20, (6, 5), attributes=attributes).double()
    tokens = torch.zeros(20, attributes.num_tokens)
    tokens.scatter_add_(1, attributes.index, attributes.weight)
    dense = torch.cat([torch.eye(20), tokens[:, 1:]], dim=1).double()
    weight = torch.cat([embedding.id_weight[1:], embedding.token_weight[1:]])
    hidden = (dense @ weight + embedding.bias).relu()
    expected = embedding.lin(hidden).relu()
    assert torch.allclose(embedding(torch.arange(20)), expected)
    rows = torch.randint(20, (3, 4))
    assert torch.equal(embedding(rows), embedding(rows.flatten()).view(3, 4, 5))


def test_an_id_that_was_not_trained_leaves_the_attributes(attributes):
    embedding = NodeEmbedding(20, (6, 5), attributes=attributes)
    embedding.set_trained_ids(torch.arange(10))
    with torch.no_grad():
        embedding.id_weight[11:] = torch.nan
    x = embedding(torch.arange(20))
    # Items 12 and 16 have the attributes of item 8, but unlike it no id.
    assert torch.equal(x[12], x[16])
    assert not torch.equal(x[12], x[8])
    assert not torch.equal(x[12], x[13])
    more = embedding.with_nodes(attributes.take(torch.tensor([8, 13])))
    assert torch.equal(more(torch.tensor([20, 21])), x[[12, 13]])
    bare = NodeEmbedding(20, (6, 5))
    bare.set_trained_ids(torch.arange(10))
    assert torch.equal(bare(torch.tensor([-1, 9, -1]))[::2], bare(torch.arange(10, 12)))


@pytest.mark.parametrize('squared', [False, True])
def test_memory_against_a_loop(squared):
    memory = ClusterMemory(4, 3, temperature=2.0, squared=squared).double()
    task = random(5, 4)
    mixed, assignment = memory(task)
    for b in range(5):
        kernel = []
        for center in memory.center:
            d = math.dist(task[b].tolist(), center.tolist())
            kernel.append((1 + (d * d if squared else d) / 2) ** -1.5)
        expected = torch.tensor(kernel, dtype=torch.double) / sum(kernel)
        assert torch.allclose(assignment[b], expected)
        assert torch.allclose(mixed[b], task[b] + expected @ memory.center)


@pytest.mark.parametrize('modulation', ['film', 'gating'])
@pytest.mark.parametrize('residual', [False, True])
def test_decoder_against_a_loop(modulation, residual):
    decoder = ModulatedDecoder(3, 2, 4, (5, 4), modulation, residual).double()
    x, task, z = random(2, 6, 3), random(2, 4), random(2, 2)
    score = decoder(x, task, z)
    for b in range(2):
        maps = decoder.lin_task(task[b])
        gamma, beta = maps[:9].tanh(), maps[9:18].tanh()
        if modulation == 'gating':
            eta, delta = maps[18:27].tanh(), maps[27:].sigmoid()
            gamma, beta = (delta * v + (1 - delta) * eta for v in (gamma, beta))
        for i in range(6):
            hidden, first = torch.cat([x[b, i], z[b]]), 0
            for lin, width in zip(decoder.lins, (5, 4), strict=True):
                part = slice(first, first + width)
                hidden = (gamma[part] + residual) * lin(hidden) + beta[part]
                hidden, first = hidden.relu(), first + width
            assert torch.allclose(score[b, i], decoder.lin_out(hidden)[0])


def test_attention_against_a_loop():
    layer = SupportAttention(3, 2, heads=2).double()
    with torch.no_grad():
        layer.sink += torch.tensor([0.3, -0.2])
    query, support, kernel = random(1, 2, 3), random(1, 4, 3), random(1, 4, 2, 2)
    residual = torch.tensor([[1.0, -1.0, 0.5, 0.0]], dtype=torch.double)
    mask = torch.tensor([[True, True, True, False]])
    found = layer(query, kernel, support, residual, mask)[0]
    for q in range(2):
        totals = torch.zeros(4, dtype=torch.double)
        logits, values = [], []
        for s in range(3):
            labelled = torch.cat([support[0, s], residual[0, s, None]])
            up, down = residual[0, s].clamp(min=0), (-residual[0, s]).clamp(min=0)
            signed = torch.cat([kernel[0, s, :, q] * up, kernel[0, s, :, q] * down])
            totals += signed
            key = layer.lin_key(labelled).view(2, 8)
            product = (layer.lin_query(query[0, q]).view(2, 8) * key).sum(-1) / 8**0.5
            logits.append(product + layer.lin_kernel(signed))
            values.append(layer.lin_value(layer.lin_hidden(labelled).relu()).view(2, 8))
        weight = torch.stack([*logits, layer.sink]).softmax(0)
        read = [sum(weight[s, h] * values[s][h] for s in range(3)) for h in range(2)]
        mean = totals / torch.tensor([1.5, 1.5, 1.0, 1.0])
        assert torch.allclose(found[q], torch.cat([*read, totals, mean]), 1e-10, 1e-10)


def test_processes_against_the_formula():
    """Of 4 query and 3 support items; the first of three kernels is left out."""
    layer = SupportGP(2, num_gps=3).double()
    x = random(2, 2, 7, 5)
    kernel = torch.cat([random(2, 1, 7, 7), x @ x.mT / 5], dim=1).transpose(1, 2)
    residual = torch.tensor([[1.0, -1.0, 0.5], [0.5, 0.0, 1.0]]).double()
    mask = torch.tensor([[True, True, True], [True, False, True]])
    kernel, gram = kernel[:, 4:, :, :4], kernel[:, 4:, :, 4:]
    found = layer(kernel, gram, residual, mask)
    weight, noise = F.softplus(layer.weight), F.softplus(layer.noise) + 0.02
    for b in range(2):
        some = mask[b].nonzero().flatten()
        for p in range(3):
            *w, constant = weight[p]
            k = sum(w[e] * gram[b, some, e + 1][:, some] for e in range(2))
            k = k + 0.2 * constant + noise[p] * torch.eye(len(some))
            value = torch.linalg.inv(k) @ residual[b, some]
            for q in range(4):
                row = sum(w[e] * kernel[b, some, e + 1, q] for e in range(2))
                expected = (row + 0.2 * constant) @ value
                torch.testing.assert_close(found[b, p, q], expected)
