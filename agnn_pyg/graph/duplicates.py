"""Groups of nodes with equal rows (profiles), which are compared only once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from agnn_pyg.base.linalg import ragged
from agnn_pyg.base.randomness import random_bits

# Approximate number of edges per block of expanded profiles.
BLOCK_EDGES = 2**20


class Profiles(NamedTuple):
    """N nodes in P groups of equal rows."""

    first: np.ndarray  # the lowest node of each group, [P]
    of: np.ndarray  # the group of each node, [N]
    member: np.ndarray  # the nodes, group by group, ascending in each, [N]
    ptr: np.ndarray  # where each group starts in `member`, [P + 1]

    @property
    def count(self) -> np.ndarray:
        """Size of each group, :obj:`[P]`."""
        return np.diff(self.ptr)


def group(matrix: sp.csr_matrix) -> Profiles:
    """Groups equal rows, in the order of their first nodes."""
    matrix = matrix.copy()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    bits = matrix.data.astype(np.float64).view(np.int64)
    column = matrix.indices.astype(np.int64)
    # Two sums of 53 random bits, in which unequal rows do not agree.
    value = np.stack([random_bits(column, bits ^ key) for key in (0, 1 << 62)], axis=1)
    total = np.concatenate([np.zeros((1, 2), np.int64), value.cumsum(axis=0)])
    rows = np.diff(total[matrix.indptr], axis=0)
    _, first, of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = first.argsort()
    of = order.argsort()[of.ravel()]
    ptr = np.concatenate([[0], np.bincount(of).cumsum()])
    return Profiles(first[order], of, of.argsort(kind='stable'), ptr)


class Levels(NamedTuple):
    """Profiles of candidate sets in L levels of equal weight, best level first."""

    row: np.ndarray  # the profile whose candidates a level holds, ascending, [L]
    weight: np.ndarray  # the weight of a level, [L]
    total: np.ndarray  # number of nodes in a level, without the target itself, [L]
    take: np.ndarray  # number of nodes of a level that fit, [L]
    base: np.ndarray  # where a level starts among `place`, [L]
    own: np.ndarray  # where the profile of the row starts there, or -1, [L]
    profile: np.ndarray  # of all levels, one after the other
    place: np.ndarray  # number of nodes ahead of each profile


def levels(
    row: np.ndarray,
    profile: np.ndarray,
    weight: np.ndarray,
    count: np.ndarray,
    size: int,
) -> Levels:
    """Fills candidate sets of a given size with profiles in the order of their weights.

    Each :obj:`row` is a profile whose set is filled, and :obj:`weight` is the weight of
    a :obj:`profile` in it, all :obj:`[E]`. :obj:`count` holds the sizes of profiles.
    """
    order = np.lexsort((profile, -weight, row))
    row, profile, weight = row[order], profile[order], weight[order]
    place = count[profile].cumsum()
    place = place - count[profile]
    new = np.ones(len(row), dtype=bool)
    new[1:] = (row[1:] != row[:-1]) | (weight[1:] != weight[:-1])
    start = new.nonzero()[0]
    level = new.cumsum() - 1
    own_entry = (row == profile).nonzero()[0]
    own = np.full(len(start), -1)
    own[level[own_entry]] = place[own_entry]
    total = np.bincount(level, count[profile], len(start)).astype(np.int64)
    total -= own >= 0
    row, weight, base = row[start], weight[start], place[start]
    # Number of nodes in better levels of the same row.
    ahead = total.cumsum() - total
    first = np.ones(len(row), dtype=bool)
    first[1:] = row[1:] != row[:-1]
    ahead -= np.repeat(ahead[first], np.diff(np.append(first.nonzero()[0], len(row))))
    take = np.minimum(total, size - ahead).clip(0)
    kept = take > 0
    parts = (part[kept] for part in (row, weight, total, take, base, own))
    return Levels(*parts, profile, place)


def expand(
    found: Levels, profiles: Profiles, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Expands profiles to candidate sets of all nodes, in blocks of bounded size.

    If a level fits only in part, each node gets a sample of it without replacement: one
    node from each of equally long arcs of a ring. All nodes of the level are equally
    likely, and no nodes-by-ties matrix is needed.

    Yields:
        Nodes, the sizes of their candidate sets, and the sources and weights of their
        edges, one set after the other.
    """
    rows, first, levels_of = np.unique(found.row, return_index=True, return_counts=True)
    if not len(rows):
        return
    size = np.add.reduceat(found.take, first)
    count = profiles.count[rows]
    which = np.repeat(np.arange(len(rows)), count)
    within = ragged(0, count)
    step = max(1, BLOCK_EDGES // size.max())
    for start in range(0, len(which), step):
        row, rank = which[start : start + step], within[start : start + step]
        level = ragged(first[row], levels_of[row])
        rank_of = np.repeat(rank, levels_of[row])
        source = _draw(found, level, rank_of, profiles, rng)
        weight = np.repeat(found.weight[level], found.take[level])
        node = profiles.member[profiles.ptr[rows[row]] + rank]
        yield node, size[row], source, weight


def _draw(
    found: Levels,
    level: np.ndarray,
    within: np.ndarray,
    profiles: Profiles,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws nodes of levels for the nodes at a place within their profile."""
    total, take = found.total[level], found.take[level]
    turn = (rng.random(len(level)) * total).astype(np.int64)
    own = found.own[level]
    own = np.where(own >= 0, own + within, np.iinfo(np.int64).max)
    arc = ragged(0, take)
    level, total, take, turn, own = (
        np.repeat(part, take) for part in (level, total, take, turn, own)
    )
    # A ring of arcs with a random start; one node is drawn from each arc.
    low, high = arc * total // take, (arc + 1) * total // take
    place = low + (rng.random(len(arc)) * (high - low)).astype(np.int64)
    place = (place + turn) % total
    place += found.base[level]
    place += place >= own  # skips the node itself
    entry = found.place.searchsorted(place, side='right') - 1
    profile = found.profile[entry]
    return profiles.member[profiles.ptr[profile] + place - found.place[entry]]
