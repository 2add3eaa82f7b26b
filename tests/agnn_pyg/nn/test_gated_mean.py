import pytest
import torch

from agnn_pyg.nn import gated_mean
from agnn_pyg.nn.gated_mean import GatedMean


@pytest.mark.parametrize('block', [2**18, 13])
def test_of_many_blocks_nothing_edge_sized_is_kept_for_backward(block, monkeypatch):
    """The numbers are tested with the layer, in test_gated_conv_paths.py."""
    monkeypatch.setattr(gated_mean, 'BLOCK_NUMEL', {'cpu': block})
    monkeypatch.setattr(gated_mean, 'KEPT_NUMEL', {'cpu': block})
    x, u, v = (torch.randn(n, 3).requires_grad_() for n in (7, 7, 5))
    src, dst, kept = torch.randint(7, (9000,)), torch.randint(5, (9000,)), []
    hooks = (lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor)
    with torch.autograd.graph.saved_tensors_hooks(*hooks):
        GatedMean.apply(src, dst, x, u, v, None, None, None)
    largest = max(tensor.numel() for tensor in kept if tensor.is_floating_point())
    assert (largest > x.numel()) == (block == 2**18)
