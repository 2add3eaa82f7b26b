"""Gated and plain means over neighbours, without edge-sized memory."""

from __future__ import annotations

import torch
from torch import Tensor

# Numbers in a block of edges: on a CPU it should stay in the cache, on a GPU
# it should be large enough to keep the device busy.
BLOCK_NUMEL = {'cpu': 2**18, 'other': 2**26}

# Of so few blocks the backward pass finds what the forward pass has worked out.
KEPT_BLOCKS = {'cpu': 4, 'other': 1}


def gated_mean(
    x: Tensor,
    gate_src: Tensor,
    gate_dst: Tensor,
    src: Tensor,
    dst: Tensor,
    edge_weight: Tensor | None = None,
) -> Tensor:
    r"""Averages :math:`\mathbf{x}_j` and its gated version over neighbours.

    .. math::
        \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)} w_{ij} \left[
        \sigma(\mathbf{u}_j + \mathbf{v}_i) \odot \mathbf{x}_j \, \Vert \,
        \mathbf{x}_j \right]

    Edges are worked off in blocks that fit in the cache, and what autograd
    would keep for each edge is computed again in the backward pass, unless a few
    blocks hold all edges. So memory grows with nodes, not with edges times
    channels, and less of it is faster. A second derivative is available; it
    does keep everything.

    Args:
        x (Tensor): Source features :math:`\mathbf{x}_j`, :obj:`[N, F]`.
        gate_src (Tensor): The sources' share of the gate
            :math:`\mathbf{u}_j`, :obj:`[N, F]`.
        gate_dst (Tensor): The targets' share :math:`\mathbf{v}_i`,
            :obj:`[T, F]`.
        src (Tensor): Sources of the edges, :obj:`[E]`.
        dst (Tensor): Targets of the edges, :obj:`[E]`.
        edge_weight (Tensor, optional): Weights :math:`w_{ij}`, :obj:`[E]` or
            :obj:`[E, 1]`.

    Returns:
        Gated and plain means side by side, :obj:`[T, 2 * F]`; 0 for a target
        without edges.

    Raises:
        ValueError: If there is not one weight an edge.
    """
    if edge_weight is not None:
        check_edge_weight(edge_weight, src.numel())
    dtype = torch.promote_types(x.dtype, gate_src.dtype)
    degree = torch.bincount(dst, minlength=gate_dst.size(0)).clamp_(min=1)
    weight = None if edge_weight is None else edge_weight.flatten().to(dtype)
    return _GatedMean.apply(
        x.to(dtype),
        gate_src.to(dtype),
        gate_dst.to(dtype),
        src,
        dst,
        weight,
        degree.to(dtype).reciprocal_()[:, None],
    )


def check_edge_weight(edge_weight: Tensor, num_edges: int) -> None:
    """Raises ``ValueError`` if there is not one weight an edge."""
    if edge_weight.numel() != num_edges:
        raise ValueError(
            f'Expected one weight an edge, [{num_edges}] (got '
            f'{list(edge_weight.size())})'
        )


def gated_mean_reference(
    x: Tensor,
    gate_src: Tensor,
    gate_dst: Tensor,
    src: Tensor,
    dst: Tensor,
    edge_weight: Tensor | None,
    scale: Tensor,
) -> Tensor:
    """The same in plain operations, which autograd can differentiate twice."""
    x_j = x.index_select(0, src)
    gate = gate_src.index_select(0, src) + gate_dst.index_select(0, dst)
    message = torch.cat([gate.sigmoid() * x_j, x_j], dim=-1)
    if edge_weight is not None:
        message = edge_weight[:, None] * message
    out = message.new_zeros(gate_dst.size(0), message.size(1))
    return out.index_add(0, dst, message) * scale


class _GatedMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gate_src, gate_dst, src, dst, weight, scale):
        width = x.size(1)
        out = x.new_zeros(gate_dst.size(0), 2 * width)
        blocks = _blocks(src, width)
        keep = len(blocks) <= _of(KEPT_BLOCKS, src)
        kept = []
        for block in blocks:
            j, i = src[block], dst[block]
            gate, x_j = _gate_and_source(x, gate_src, gate_dst, j, i)
            message = torch.cat([gate * x_j, x_j], dim=-1)
            if weight is not None:
                message *= weight[block, None]
            out.index_add_(0, i, message)
            if keep:
                kept += [gate, x_j]
        ctx.save_for_backward(x, gate_src, gate_dst, src, dst, weight, scale, *kept)
        return out.mul_(scale)

    @staticmethod
    def backward(ctx, grad):
        saved = ctx.saved_tensors  # once: checkpointing unpacks them once only
        inputs, kept = saved[:7], saved[7:]
        if torch.is_grad_enabled():  # asked for a graph of the gradient itself
            return _differentiable_backward(ctx, inputs, grad)
        x, gate_src, gate_dst, src, dst, weight, scale = inputs
        width = x.size(1)
        grad_out, grad_mean = (grad * scale).split(width, dim=-1)
        # Made from `grad`, which may stand for a batch of gradients.
        grad_x = grad.new_zeros(x.size())
        grad_src, grad_dst = torch.zeros_like(grad_x), torch.zeros_like(grad_out)
        grad_weight = None if weight is None else grad.new_empty(weight.size())
        for number, block in enumerate(_blocks(src, width)):
            j, i = src[block], dst[block]
            if kept:
                block_gate, block_x = kept[2 * number : 2 * number + 2]
            else:
                block_gate, block_x = _gate_and_source(x, gate_src, gate_dst, j, i)
            gated, plain = grad_out.index_select(0, i), grad_mean.index_select(0, i)
            gated *= block_gate
            plain += gated  # the gradient of x_j, which is also sent as it is
            if weight is not None:
                grad_weight[block] = (plain * block_x).sum(dim=-1)
                gated *= weight[block, None]
                plain *= weight[block, None]
            grad_x.index_add_(0, j, plain)
            # The slope of the sigmoid is a (1 - a); `gated` has the factor a.
            gated *= block_x
            gated.addcmul_(gated, block_gate, value=-1)
            grad_src.index_add_(0, j, gated)
            grad_dst.index_add_(0, i, gated)
        return grad_x, grad_src, grad_dst, None, None, grad_weight, None


def _gate_and_source(
    x: Tensor, gate_src: Tensor, gate_dst: Tensor, src: Tensor, dst: Tensor
) -> tuple[Tensor, Tensor]:
    """Gates and source features of some edges, each contiguous."""
    gate = gate_src.index_select(0, src)
    gate += gate_dst.index_select(0, dst)
    return gate.sigmoid_(), x.index_select(0, src)


def _differentiable_backward(ctx, inputs, grad):
    wanted = [
        i for i, tensor in enumerate(inputs) if i in (0, 1, 2, 5) and _needs(tensor)
    ]
    out = gated_mean_reference(*inputs)
    grads = torch.autograd.grad(
        out, [inputs[i] for i in wanted], grad, create_graph=True
    )
    full = [None] * len(inputs)
    for i, value in zip(wanted, grads, strict=True):
        full[i] = value
    return tuple(full)


def _needs(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.requires_grad


def _blocks(src: Tensor, width: int) -> list[slice]:
    """Slices of the edges, of as many as fit in a block: gate and features."""
    size = max(1, _of(BLOCK_NUMEL, src) // max(1, 2 * width))
    return [slice(start, start + size) for start in range(0, src.numel(), size)]


def _of(limit: dict[str, int], tensor: Tensor) -> int:
    return limit.get(tensor.device.type, limit['other'])
