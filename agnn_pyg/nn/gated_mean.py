"""Gated and plain means over neighbors, in memory that does not grow with edges."""

import torch
from torch import Tensor

# Tensor entries per block of edges (fits a CPU's cache, or keeps a GPU busy), and the
# largest size that is saved for the backward pass rather than recomputed.
BLOCK_NUMEL, KEPT_NUMEL = {'cpu': 2**18}, {'cpu': 2**20}


class GatedMean(torch.autograd.Function):
    r"""Stacks gated and plain means over neighbors, for edges in any order.

    .. math::
        \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)} w_{ij} \, \sigma
        (\mathbf{u}_j + \mathbf{v}_i + \mathbf{W} \mathbf{e}_{ij}) \odot \mathbf{x}_j
        \quad \mathrm{and} \quad
        \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)} w_{ij} \mathbf{x}_j

    Supports second derivatives. Forward mode and :obj:`torch.func` raise an error.
    """

    @staticmethod
    def forward(ctx, src, dst, x, u, v, w, e, weight):
        gated, plain = out = v.new_zeros(2, *v.size())
        keep = 2 * x.size(1) * src.numel() <= KEPT_NUMEL.get(x.device.type, 2**26)
        kept = []
        for _, j, i, w_ij, e_ij in _blocks(x, src, dst, w, e):
            gate, x_j = _gather(j, i, x, u, v, e_ij, weight)
            if keep:
                kept += [gate, x_j]
            x_j = x_j if w is None else w_ij * x_j
            gated.index_add_(0, i, gate * x_j)
            plain.index_add_(0, i, x_j)
        degree = dst.new_zeros(len(v)).index_add_(0, dst, torch.ones_like(dst))
        scale = degree.clamp_(min=1).to(v.dtype).reciprocal_().unsqueeze(-1)
        ctx.save_for_backward(src, dst, x, u, v, w, e, weight, scale, *kept)
        return out.mul_(scale)

    @staticmethod
    def backward(ctx, grad):
        saved = ctx.saved_tensors  # read once: checkpointing allows a single unpack
        src, dst, x, u, v, w, e, weight, scale, *kept = saved
        addcmul = Tensor.addcmul_
        if torch.is_grad_enabled():  # A second derivative needs the inputs.
            kept, addcmul = [], torch.addcmul
        pairs = zip(kept[::2], kept[1::2], strict=True)
        grad = grad * scale
        # Created from `grad`, which may be a batch of gradients.
        grads = [None if t is None else grad.new_zeros(t.size()) for t in saved[2:8]]
        grad_x, grad_u, grad_v, grad_w, grad_e, grad_weight = grads
        for block, j, i, w_ij, e_ij in _blocks(x, src, dst, w, e):
            gate, x_j = next(pairs, None) or _gather(j, i, x, u, v, e_ij, weight)
            gated, plain = (half.index_select(0, i) for half in grad)
            gated *= gate
            plain += gated  # x_j also enters the plain mean
            if w is not None:
                grad_w[block] = (plain * x_j).sum(dim=-1, keepdim=True)
                gated, plain = w_ij * gated, w_ij * plain
            grad_x.index_add_(0, j, plain)
            gated *= x_j
            # The slope of the sigmoid is a (1 - a); `gated` has the factor a.
            gated = addcmul(gated, gated, gate, value=-1)
            grad_u.index_add_(0, j, gated)
            grad_v.index_add_(0, i, gated)
            if e is not None:
                grad_e[block] = gated @ weight
                grad_weight += gated.t() @ e_ij
        return None, None, *grads


def _gather(src, dst, x, u, v, e, weight):
    gate = u.index_select(0, src).add_(v.index_select(0, dst))
    gate = gate if e is None else gate.add_(e @ weight.t())
    return gate.sigmoid_(), x.index_select(0, src)


def _blocks(x, *tensors):
    """Yields blocks of edges: their slice, and the rows of the tensors in it."""
    numel = BLOCK_NUMEL.get(x.device.type, 2**26)
    size = max(1, numel // max(1, 2 * x.size(1)))  # a gate and a source per edge
    for start in range(0, tensors[0].numel(), size):
        block = slice(start, start + size)
        yield block, *(None if tensor is None else tensor[block] for tensor in tensors)
