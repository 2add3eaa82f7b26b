"""Candidate pools and weighted draws of neighbours from them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from numbers import Integral
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar('T', Tensor, np.ndarray)

# Draws work on dense [nodes, widest pool] blocks of at most so many entries.
BLOCK_ENTRIES = 2**22

# The constants of SplitMix64 (Steele et al., 2014), as signed 64-bit numbers.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


class CandidatePool:
    r"""The candidate neighbours of each node, and how to draw from them.

    A draw is a pure function of seed, epoch, node and edge: the random number
    of an edge is a hash of these (a *counter-based* generator). Hence a node
    draws the same neighbours whatever else is in its batch, on whatever
    device, and in whichever worker process.

    Args:
        edge_index (Tensor): Edges neighbour :math:`\rightarrow` node,
            :obj:`[2, E]`, in any order.
        edge_weight (Tensor, optional): Non-negative weights, :obj:`[E]`; an
            edge of weight 0 is never drawn. Without, draws are uniform.
        num_nodes (int): Number of nodes.
        edge_counter (Tensor, optional): What stands for each edge in the hash,
            :obj:`[E]`. (default: its position, sorted by target)

    Raises:
        ValueError: If weights are negative, not finite or too few.
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
        if edge_weight.dim() != 1 or len(edge_weight) != edge_index.size(1):
            raise ValueError(
                f'Expected one weight an edge, [{edge_index.size(1)}] (got '
                f'{list(edge_weight.size())})'
            )
        if not (torch.isfinite(edge_weight) & (edge_weight >= 0)).all():
            raise ValueError('Edge weights must be finite and not negative')
        target, self.perm = _sorted(edge_index[1])
        self.source = edge_index[0][self.perm]
        self.weight = edge_weight[self.perm].double()
        self.counter = None if edge_counter is None else edge_counter[self.perm]
        count = torch.bincount(target, minlength=num_nodes)
        self.ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])

    @property
    def num_nodes(self) -> int:
        return self.ptr.numel() - 1

    def draw(self, node: Tensor, size: int, seed: int, epoch: int = 0) -> Tensor:
        r"""Draws neighbours without replacement, in proportion to weight.

        With :math:`u_e` uniform, the edges of smallest
        :math:`-\log(u_e) / w_e` are such a draw (Efraimidis and Spirakis,
        2006).

        Args:
            node (Tensor): The nodes to draw for, :obj:`[n]`.
            size (int): Neighbours a node.
            seed (int): Seed of the run.
            epoch (int, optional): A new epoch is a new, independent draw.

        Returns:
            Slots of the drawn edges, :obj:`[n, size]`: positions in
            :attr:`source` and :attr:`perm`, or -1 past the end of a pool that
            offers fewer.
        """
        drawn = node.new_full((len(node), size), -1)
        if drawn.numel() == 0:
            return drawn
        key = mix(mix(seed) + int(epoch))
        # Like with like: one hub would make the rows of all others as wide as its own.
        width, order = (self.ptr[node + 1] - self.ptr[node]).sort(stable=True)
        for start, stop, widest in _blocks(width.cpu().numpy()):
            chosen = order[start:stop]
            slot = self._draw(node[chosen], min(size, widest), widest, key)
            drawn[chosen, : slot.size(1)] = slot
        return drawn

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


def _sorted(target: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`torch.sort`, stable, but at once where targets ascend already.

    Those of :func:`~agnn_pyg.graph.build.attribute_graph` do, and to rate one pair is less
    work than to sort them.
    """
    if (target[1:] >= target[:-1]).all():
        return target, torch.arange(len(target), device=target.device)
    return torch.sort(target, stable=True)


def _blocks(width: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Start, stop and largest width of blocks of some pools, whose widths ascend.

    In each the widest is at most twice as wide as the narrowest; no pool is empty.
    """
    start = int(width.searchsorted(1))
    while start < len(width):
        alike = int(width.searchsorted(2 * width[start], side='right'))
        widest = int(width[alike - 1])
        step = max(1, BLOCK_ENTRIES // widest)
        for first in range(start, alike, step):
            yield first, min(first + step, alike), widest
        start = alike


def uniform(counter: Tensor, key: int) -> Tensor:
    """Uniform numbers in (0, 1), a hash of each counter under a key."""
    return (random_bits(counter, key).double() + 0.5) / 2**53


def random_bits(counter: T, key: int | T) -> T:
    """53 random bits for each counter, of a tensor or a NumPy array of ``int64``."""
    return _shift(_mix(counter * _GAMMA + key), 11)


def not_negative(name: str, value: int) -> int:
    """A seed or an epoch, as a number of Python's, which never overflows.

    Raises:
        ValueError: If it is negative or not whole.
    """
    if not isinstance(value, Integral):
        raise ValueError(f"'{name}' must be a whole number (got {value!r})")
    if value < 0:
        raise ValueError(f"'{name}' must not be negative (got {value})")
    return int(value)


def mix(number: int) -> int:
    """Scrambles a number, so that seeds 0, 1, 2 are far apart."""
    # Plain numbers: a tensor for one of them would cost more than its use.
    state = (int(number) * _GAMMA + _GAMMA) % 2**64
    state = (state ^ state >> 30) * _MIX_1 % 2**64
    state = (state ^ state >> 27) * _MIX_2 % 2**64
    state ^= state >> 31
    return (state + 2**63) % 2**64 - 2**63  # as a signed number


def salted(seed: int, *names: str) -> int:
    """A seed of its own for whatever the names stand for, such as a relation.

    Numbers are hashes of node or edge and seed, so two relations under one seed
    would share theirs.
    """
    return mix(seed + zlib.crc32(' '.join(names).encode()))


def _mix(state: T) -> T:
    state = (state ^ _shift(state, 30)) * _MIX_1
    state = (state ^ _shift(state, 27)) * _MIX_2
    return state ^ _shift(state, 31)


def _shift(state: T, bits: int) -> T:
    # A logical shift: the arithmetic one would drag the sign bit along.
    return (state >> bits) & (2 ** (64 - bits) - 1)
