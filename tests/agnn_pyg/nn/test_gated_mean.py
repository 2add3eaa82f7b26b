import pytest
import torch

from agnn_pyg.nn import gated_mean as module
from agnn_pyg.nn.gated_mean import GatedMean

SRC = torch.tensor([0, 1, 2, 3, 3, 0, 6, 2, 5])
DST = torch.tensor([1, 0, 1, 2, 2, 4, 4, 2, 1])


@pytest.fixture(params=['one block', 'kept blocks', 'many blocks'], autouse=True)
def blocks(request, monkeypatch):
    if request.param != 'one block':
        monkeypatch.setattr(module, 'BLOCK_NUMEL', {'cpu': 13})
    if request.param == 'many blocks':
        monkeypatch.setattr(module, 'KEPT_NUMEL', {'cpu': 13})
    return request.param


def inputs():
    generator = torch.Generator().manual_seed(0)
    shapes = ((7, 3), (7, 3), (5, 3), (9, 1), (9, 2), (3, 2))
    return [
        torch.randn(shape, dtype=torch.double, generator=generator).requires_grad_()
        for shape in shapes
    ]


def mean(x, u, v, w=None, e=None, weight=None):
    return GatedMean.apply(SRC, DST, x, u, v, w, e, weight)


def test_against_a_loop_over_edges():
    x, u, v, w, e, weight = leaves = inputs()
    rows = []
    for node in range(5):
        gated, plain, count = torch.zeros(3).double(), torch.zeros(3).double(), 0
        for edge in (node == DST).nonzero().flatten():
            j = SRC[edge]
            gate = 1 / (1 + (-(u[j] + v[node] + weight @ e[edge])).exp())
            gated = gated + w[edge] * gate * x[j]
            plain = plain + w[edge] * x[j]
            count += 1
        rows.append(torch.stack([gated, plain]) / max(count, 1))
    expected, out = torch.stack(rows, dim=1), mean(*leaves)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    probe = torch.randn(out.shape, dtype=out.dtype)
    wanted = torch.autograd.grad(expected, leaves, probe)
    got = torch.autograd.grad(out, leaves, probe)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_of_many_blocks_nothing_edge_sized_is_kept_for_backward(blocks):
    x, u, v, *_ = inputs()
    src, dst = SRC.repeat(1000), DST.repeat(1000)
    kept = []
    hooks = (lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor)
    with torch.autograd.graph.saved_tensors_hooks(*hooks):
        GatedMean.apply(src, dst, x, u, v, None, None, None)
    largest = max(tensor.numel() for tensor in kept if tensor.is_floating_point())
    assert (largest > x.numel()) == (blocks == 'one block')
