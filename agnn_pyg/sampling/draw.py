"""Candidate sets of nodes and weighted draws of neighbors from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch_geometric.utils.sparse import index2ptr

from agnn_pyg.base.randomness import mix, uniform

# Maximum number of entries of a dense [nodes, largest candidate set] block of draws.
BLOCK_ENTRIES = 2**22


class CandidateSets:
    r"""The candidate neighbors of each node, with weighted draws from them.

    A draw is a pure function of seed, epoch, node and edge: the random number
    of an edge is a hash of these (a *counter-based* generator). The neighbors
    that are drawn for a node therefore do not depend on the rest of its batch,
    the device or the worker process.

    Args:
        edge_index (Tensor): Edges neighbor → node, :obj:`[2, E]`, in any order.
        edge_weight (Tensor, optional): Non-negative weights, :obj:`[E]`; an edge of
            weight 0 is never drawn. Without weights, draws are uniform.
        num_nodes (int): Number of nodes.
        edge_counter (Tensor, optional): The number that is hashed for each edge,
            :obj:`[E]`. (default: its position, sorted by target)

    Attributes:
        largest: Size of the largest candidate set.

    Raises:
        ValueError: If weights are negative or not finite, or their number is wrong.
    """

    def __init__(
        self,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        num_nodes: int,
        edge_counter: Tensor | None = None,
    ) -> None:
        if edge_weight is None:
            edge_weight = torch.ones(edge_index.size(1), device=edge_index.device)
        if edge_weight.size() != edge_index.size()[1:]:
            raise ValueError(
                f"'edge_weight' must have size [{edge_index.size(1)}], one weight per "
                f'edge (got {list(edge_weight.size())})'
            )
        if not (torch.isfinite(edge_weight) & (edge_weight >= 0)).all():
            raise ValueError("'edge_weight' must be finite and not negative")
        target = edge_index[1]
        self.perm = torch.arange(len(target), device=target.device)
        # Edges of attribute graphs are sorted already. Another sort would take longer
        # than the prediction of a single pair.
        if not (target[1:] >= target[:-1]).all():
            target, self.perm = torch.sort(target, stable=True)
        self.source = edge_index[0][self.perm]
        self.weight = edge_weight[self.perm].double()
        self.counter = None if edge_counter is None else edge_counter[self.perm]
        self.ptr = index2ptr(target, num_nodes)
        self.largest = int(self.ptr.diff().max()) if num_nodes else 0

    def draw(self, node: Tensor, size: int, seed: int, epoch: int = 0) -> Tensor:
        r"""Draws neighbors without replacement, in proportion to weight.

        The draw takes the edges with the smallest :math:`-\log(u_e) / w_e` for uniform
        :math:`u_e` (Efraimidis and Spirakis, 2006). Each epoch gives a new draw.

        Returns:
            Slots of the drawn edges for each node, :obj:`[n, size]`: positions in
            :attr:`source` and :attr:`perm`, or -1 past the end of a smaller set.
        """
        drawn = node.new_full((len(node), size), -1)
        if drawn.numel() == 0:
            return drawn
        key = mix(mix(seed) + int(epoch))
        # Grouped by width, since a hub would widen the rows of all nodes.
        width, order = (self.ptr[node + 1] - self.ptr[node]).sort(stable=True)
        for start, stop, widest in _blocks(width.cpu().numpy()):
            chosen = order[start:stop]
            slot = self._draw(node[chosen], min(size, widest), widest, key)
            drawn[chosen, : slot.size(1)] = slot
        return drawn

    def draw_for_all(self, size: int, seed: int, epoch: int) -> Tensor:
        """Draws neighbors of all nodes by :meth:`draw`, :obj:`[N, size]`.

        Entries past the end of a smaller candidate set are -1.
        """
        found = self.draw(torch.arange(len(self.ptr) - 1), size, seed, epoch)
        found[found >= 0] = self.source[found[found >= 0]]
        return found

    def _draw(self, node: Tensor, size: int, widest: int, key: int) -> Tensor:
        first, last = self.ptr[node], self.ptr[node + 1]
        slot = first[:, None] + torch.arange(widest, device=node.device)
        inside = slot < last[:, None]
        slot = torch.where(inside, slot, 0)
        counter = slot if self.counter is None else self.counter[slot]
        arrival = -uniform(counter, key).log() / self.weight[slot]
        arrival.masked_fill_(~inside, torch.inf)
        arrival, column = arrival.topk(size, largest=False)
        return slot.gather(1, column).masked_fill_(arrival.isinf(), -1)


def edges_to(neighbor: Tensor, self_neighbor: bool = False) -> Tensor:
    """Edges neighbor → node, :obj:`[2, E]`, from a row of neighbors for each node.

    Entries of -1 are skipped. With :obj:`self_neighbor`, the node itself replaces the
    last neighbor in its row, in place.
    """
    if self_neighbor:
        neighbor[:, -1:] = torch.arange(len(neighbor))[:, None]
    target, slot = (neighbor >= 0).nonzero(as_tuple=True)
    return torch.stack([neighbor[target, slot], target])


def _blocks(width: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Start, stop and largest width of blocks of rows whose widths ascend.

    Within a block, widths differ by a factor of two at most. Rows of width 0 are
    skipped.
    """
    start = int(width.searchsorted(1))
    while start < len(width):
        similar = int(width.searchsorted(2 * width[start], side='right'))
        widest = int(width[similar - 1])
        step = max(1, BLOCK_ENTRIES // widest)
        for first in range(start, similar, step):
            yield first, min(first + step, similar), widest
        start = similar
