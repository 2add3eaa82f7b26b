import pytest
import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_map

from agnn_pyg.nn import AttributeEmbedding, BiInteraction


def bag(embeddings):
    """Bags whose tokens are the given embeddings, one token a slot."""
    count, channels = embeddings.shape[:-1].numel(), embeddings.size(-1)
    table = AttributeEmbedding(1 + count, channels).double()
    with torch.no_grad():
        table.weight[1:] = embeddings.reshape(count, channels)
    index = torch.arange(1, 1 + count).view(-1, embeddings.size(-2))
    return table(index)


@pytest.mark.parametrize(
    ('name', 'expected'), [('embeddings', 'pooled'), ('embeddings_4d', 'pooled_4d')]
)
def test_golden_numbers(golden, name, expected):
    numbers = golden('bi_interaction')
    pool, state = BiInteraction(6).double(), {}
    for part in ('weight', 'bias'):
        state[f'lin_pair.{part}'] = numbers['parameters'][f'bi_{part}']
        state[f'lin_sum.{part}'] = numbers['parameters'][f'si_{part}']
    pool.load_state_dict(state)
    expected = numbers['outputs'][expected]
    out = pool(*bag(numbers['inputs'][name])).view_as(expected)
    assert torch.allclose(out, expected, rtol=1e-9, atol=1e-9)


def test_loop_over_pairs(device):
    torch.manual_seed(0)
    table = AttributeEmbedding(9, 4, std=1).to(device)
    torch.nn.init.constant_(table.weight[0], torch.nan)  # Padding is never read.
    pool = BiInteraction(4).to(device)
    index = torch.tensor([[1, 2, 3, 4], [5, 8, 0, 0], [7, 0, 0, 0], [0] * 4])
    weight = torch.rand(4, 4)
    for given, factor in ((index, torch.ones(4, 4)), ((index, weight), weight)):
        out = pool(*table(tree_map(lambda t: t.to(device), given)))
        assert out.size() == (4, 4)
        for row in range(4):
            pairs, total = torch.zeros(2, 4, device=device)
            for f, token in enumerate(index[row, index[row] > 0]):
                one = float(factor[row, f]) * table.weight[token]
                pairs, total = pairs + total * one, total + one
            expected = F.leaky_relu(pool.lin_pair(pairs), 0.01)
            expected = expected + F.leaky_relu(pool.lin_sum(total), 0.01)
            assert torch.allclose(out[row], expected, atol=1e-5)


def test_dense_features_are_weights_of_tokens(device):
    torch.manual_seed(0)
    table = AttributeEmbedding(5, 3).to(device)
    x = torch.randn(4, 5, device=device)
    total, square = table(x.double())  # of the dtype of the embedding
    rows = x[..., None] * table.weight
    torch.testing.assert_close(total, rows.sum(dim=1))
    torch.testing.assert_close(square, rows.square().sum(dim=1))
    # Truth values are dense, too.
    for one, other in zip(table(x > 0), table((x > 0).float()), strict=True):
        assert torch.equal(one, other)


def test_all_derivatives():
    torch.manual_seed(0)
    table = AttributeEmbedding(7, 3, std=1).double()
    index = torch.tensor([[1, 4, 2], [5, 5, 0]])
    weight = torch.rand(2, 3).double().requires_grad_()

    def sums(weight, rows):
        parameters = {'weight': rows}
        return torch.func.functional_call(table, parameters, ((index, weight),))

    assert torch.autograd.gradcheck(sums, (weight, table.weight))
    assert torch.autograd.gradgradcheck(sums, (weight, table.weight))
