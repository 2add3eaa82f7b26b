"""Gated and plain means over neighbors, in memory that does not grow with edges."""

from contextlib import suppress

import torch
from torch import Tensor
from torch_geometric.typing import OptTensor, PairTensor

# Numbers in a block of edges, which should fit in a CPU's cache or keep a GPU busy,
# and how many blocks are kept for the backward pass rather than computed again.
BLOCKS = {'cpu': (2**18, 4), 'other': (2**26, 1)}


def gated_mean(
    x: Tensor,
    gate: PairTensor,
    edge_index: PairTensor,
    edge_weight: OptTensor = None,
    edge_attr: OptTensor = None,
    edge_map: OptTensor = None,
) -> Tensor:
    r"""Stacks means over neighbors of :math:`w_{ij} \sigma(\mathbf{g}_{ij}) \odot
    \mathbf{z}_{ij}` and :math:`w_{ij} \mathbf{z}_{ij}`, with :math:`[\mathbf{g}_{ij}
    \, \Vert \, \mathbf{z}_{ij}] = [\mathbf{u}_j + \mathbf{v}_i \, \Vert \,
    \mathbf{x}_j] + \mathbf{M} \mathbf{e}_{ij}`, where :math:`\mathbf{u}, \mathbf{v}`
    is the :obj:`gate` and :math:`\mathbf{M}` the :obj:`edge_map`.
    """
    dtype = torch.promote_types(x.dtype, gate[0].dtype)
    weight = None if edge_weight is None else edge_weight.view(-1, 1)
    inputs = x, *gate, edge_attr, edge_map, weight
    inputs = [None if tensor is None else tensor.to(dtype) for tensor in inputs]
    plain = x.dim() != 2 or torch.compiler.is_compiling() or torch.jit.is_tracing()
    try:
        # Transforms of `torch.func` and forward-mode derivatives refuse `_BlockMeans`.
        with suppress(RuntimeError):
            if not plain:
                return _BlockMeans.apply(*edge_index, *inputs)
        return _plain_means(*edge_index, *inputs)
    except (IndexError, RuntimeError):
        # Checked only now: a check beforehand would slow down every call.
        for index, nodes in zip(edge_index, (x, gate[1]), strict=True):
            if index.numel() and not 0 <= index.min() <= index.max() < nodes.size(-2):
                raise IndexError(
                    f"'edge_index' must hold nodes from 0 to {nodes.size(-2) - 1} (got "
                    f'{int(index.min())} to {int(index.max())})'
                ) from None
        raise


def gates_and_sources(src, dst, x, gate_src, gate_dst, edge_attr, edge_map, block=...):
    """Aggregate gates and source features of edges."""
    gate, x_j = gate_src.index_select(-2, src[block]), x.index_select(-2, src[block])
    gate_i = gate_dst.index_select(-2, dst[block])
    gate = gate + gate_i if block is ... else gate.add_(gate_i)
    if edge_attr is not None:
        edge_gate, edge_x = (edge_attr[block] @ edge_map.t()).chunk(2, dim=-1)
        gate, x_j = gate + edge_gate, x_j + edge_x
    return gate.sigmoid_(), x_j


def _plain_means(src, dst, x, gate_src, gate_dst, edge_attr, edge_map, weight):
    """Means by operations that autograd, transforms and compilers understand."""
    inputs = src, dst, x, gate_src, gate_dst, edge_attr, edge_map
    gate, x_j = gates_and_sources(*inputs)
    x_j = x_j if weight is None else weight * x_j
    zeros = torch.zeros_like(gate_dst)
    sums = [zeros.index_add(-2, dst, message) for message in (gate * x_j, x_j)]
    return torch.stack(sums) * _scale(dst, gate_dst)


class _BlockMeans(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        src, dst, x, _, gate_dst, _, _, weight = inputs
        out, kept, scale = x.new_zeros(2, *gate_dst.size()), [], _scale(dst, gate_dst)
        blocks, num_kept = _blocks(src, x)
        for block in blocks:
            gate, x_j = gates_and_sources(*inputs[:7], block)
            if len(blocks) <= num_kept:
                kept += [gate, x_j]
            x_j = x_j if weight is None else weight[block] * x_j
            out[0].index_add_(0, dst[block], gate * x_j)
            out[1].index_add_(0, dst[block], x_j)
        ctx.save_for_backward(*inputs, scale, *kept)
        return out.mul_(scale)

    @staticmethod
    def backward(ctx, grad):
        saved = ctx.saved_tensors  # once: checkpointing unpacks them once only
        inputs, scale, kept = saved[:8], saved[8], saved[9:]
        if torch.is_grad_enabled():
            kept = ()  # A second derivative needs to know how these were computed.
        src, dst, x, _, _, edge_attr, edge_map, weight = inputs
        grad = grad * scale
        # Made from `grad`, which may stand for a batch of gradients.
        grads = [None if t is None else grad.new_zeros(t.size()) for t in inputs[2:]]
        grad_x, grad_src, grad_dst, grad_attr, grad_map, grad_weight = grads
        for number, block in enumerate(_blocks(src, x)[0]):
            j, i = src[block], dst[block]
            gate, x_j = kept[2 * number :][:2] or gates_and_sources(*inputs[:7], block)
            gated, plain = (part.index_select(0, i) for part in grad)
            gated *= gate
            plain += gated  # the gradient of x_j, which is also sent as it is
            if weight is not None:
                grad_weight[block] = (plain * x_j).sum(dim=-1, keepdim=True)
                gated, plain = gated * weight[block], plain * weight[block]
            gated *= x_j
            gated = torch.addcmul(gated, gated, gate, value=-1)  # a (1 - a) is the slope
            grad_x.index_add_(0, j, plain)
            grad_src.index_add_(0, j, gated)
            grad_dst.index_add_(0, i, gated)
            if edge_attr is not None:
                grad_edge = torch.cat([gated, plain], dim=-1)
                grad_attr[block] = grad_edge @ edge_map
                grad_map += grad_edge.t() @ edge_attr[block]
        return None, None, *grads


def _scale(dst: Tensor, targets: Tensor) -> Tensor:
    """One over the number of neighbors, or one without any."""
    degree = dst.new_zeros(targets.size(-2)).index_add(0, dst, torch.ones_like(dst))
    return degree.clamp(min=1).to(targets.dtype).reciprocal().unsqueeze(-1)


def _blocks(src: Tensor, x: Tensor) -> tuple[list[slice], int]:
    """Slices of the edges, each of as many as fit in a block: gate and features."""
    numel, num_kept = BLOCKS.get(x.device.type, BLOCKS['other'])
    size = max(1, numel // max(1, 2 * x.size(-1)))
    return [slice(e, e + size) for e in range(0, src.numel(), size)], num_kept
