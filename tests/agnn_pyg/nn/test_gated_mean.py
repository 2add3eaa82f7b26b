import pytest
import torch
import torch.utils.checkpoint

from agnn_pyg.nn import gated_mean as module
from agnn_pyg.nn.gated_mean import gated_mean

SRC = torch.tensor([0, 1, 2, 3, 3, 0, 6, 2, 5])
DST = torch.tensor([1, 0, 1, 2, 2, 4, 4, 2, 1])


@pytest.fixture(params=[2**18, 13], ids=['one block', 'many blocks'])
def blocks(request, monkeypatch):
    monkeypatch.setattr(module, 'BLOCK_NUMEL', {'cpu': request.param, 'other': 13})


def inputs(seed=0, dtype=torch.double):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((7, 3), (7, 3), (5, 3), (9,))
    return [
        torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()
        for shape in shapes
    ]


def loop(x, gate_src, gate_dst, weight):
    rows = []
    for node in range(gate_dst.size(0)):
        gated, plain, count = torch.zeros(3).double(), torch.zeros(3).double(), 0
        for edge in range(len(SRC)):
            if DST[edge] == node:
                j = SRC[edge]
                gate = 1 / (1 + (-(gate_src[j] + gate_dst[node])).exp())
                gated = gated + weight[edge] * gate * x[j]
                plain = plain + weight[edge] * x[j]
                count += 1
        rows.append(torch.cat([gated, plain]) / max(count, 1))
    return torch.stack(rows)


def test_against_a_loop_over_edges(blocks):
    x, gate_src, gate_dst, weight = inputs()
    expected = loop(x, gate_src, gate_dst, weight)
    out = gated_mean(x, gate_src, gate_dst, SRC, DST, weight)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    probe = torch.randn(out.shape, dtype=out.dtype)
    wanted = torch.autograd.grad(expected, (x, gate_src, gate_dst, weight), probe)
    got = torch.autograd.grad(out, (x, gate_src, gate_dst, weight), probe)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_first_and_second_derivatives(blocks):
    def call(x, gate_src, gate_dst, weight=None):
        return gated_mean(x, gate_src, gate_dst, SRC, DST, weight)

    for count in (3, 4):
        assert torch.autograd.gradcheck(call, inputs()[:count])
        assert torch.autograd.gradgradcheck(call, inputs()[:count])


def test_only_the_gradients_asked_for_are_given(blocks):
    x, gate_src, gate_dst, _ = inputs()
    out = gated_mean(x.detach(), gate_src, gate_dst.detach(), SRC, DST)
    (grad,) = torch.autograd.grad(out.sum(), gate_src, create_graph=True)
    assert grad.requires_grad
    assert x.grad is None


def test_no_edges_give_zeros():
    x, gate_src, gate_dst, _ = inputs()
    none = torch.empty(0, dtype=torch.long)
    out = gated_mean(x, gate_src, gate_dst, none, none)
    assert torch.equal(out, torch.zeros(5, 6).double())
    out.sum().backward()
    assert x.grad.eq(0).all()


def test_mixed_precision_inputs_meet_in_the_wider_type():
    x, gate_src, gate_dst, _ = inputs(dtype=torch.float)
    out = gated_mean(x, gate_src.bfloat16(), gate_dst.bfloat16(), SRC, DST)
    assert out.dtype == torch.float
    out.sum().backward()
    assert gate_src.grad.dtype == torch.float


def test_of_many_blocks_nothing_edge_sized_is_kept_for_backward(monkeypatch):
    monkeypatch.setattr(module, 'BLOCK_NUMEL', {'cpu': 600, 'other': 600})
    x, gate_src, gate_dst, _ = inputs(dtype=torch.float)
    src, dst = SRC.repeat(1000), DST.repeat(1000)
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gated_mean(x, gate_src, gate_dst, src, dst)
    floats = [t.numel() for t in kept if t.is_floating_point()]
    assert floats
    assert max(floats) <= x.numel()


def test_checkpointing_gives_the_same_gradients():
    x, gate_src, gate_dst, weight = inputs()
    leaves = (x, gate_src, gate_dst, weight)
    expected = gated_mean(x, gate_src, gate_dst, SRC, DST, weight).sum()
    out = torch.utils.checkpoint.checkpoint(
        gated_mean, x, gate_src, gate_dst, SRC, DST, weight, use_reentrant=False
    )
    wanted = torch.autograd.grad(expected, leaves)
    got = torch.autograd.grad(out.sum(), leaves)
    torch.testing.assert_close(got, wanted)
