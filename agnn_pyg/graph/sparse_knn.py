"""Candidate sets of large graphs by exact or approximate sparse search."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import numpy as np
import scipy.sparse as sp
import torch

from agnn_pyg.base.linalg import ragged, unit_rows
from agnn_pyg.graph.duplicates import Profiles, expand, group, levels
from agnn_pyg.graph.proximity import DENSE_NODES, TIE_DECIMALS, Edges, proximity

# The most products of common attributes of two nodes for which an exact search is as
# fast as an approximate one. An exact search takes a second for some 10^8 products.
EXACT_PRODUCTS = 10**10

# Block sizes in entries, for searches of profiles and comparisons of pairs.
BLOCK_ENTRIES = 2**22

# Number of profiles that an approximate search finds for each profile, including
# itself. Twice the number takes three times as long.
APPROXIMATE_NEIGHBORS = 31

# Number of random signs for estimated deviations: a standard error of some 6 %.
SIGNS = 128

# Search results of a block of profiles: profile, candidate and weight.
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def sparse_candidates(
    attributes: sp.csr_matrix,
    ratings: sp.csr_matrix | None,
    size: int,
    method: str,
    seed: int,
) -> Edges:
    """The edges of a large attribute graph.

    Nodes with equal rows are grouped. The search compares groups and then expands them
    to their members, see :mod:`~agnn_pyg.graph.duplicates`. It needs memory for the
    edges and one block. Arguments are as in :func:`~agnn_pyg.attribute_graph`.
    """
    parts = [attributes] if ratings is None else [attributes, ratings]
    profiles = group(sp.hstack(parts, format='csr'))
    parts = [unit_rows(part[profiles.first]) for part in parts]
    rng = np.random.default_rng(seed)
    source = np.full((len(profiles.of), size), -1, dtype=np.int32)
    weight = np.zeros(source.shape, dtype=np.float32)
    for row, profile, closeness in _search(parts, profiles, size, method, rng):
        found = levels(row, profile, closeness, profiles.count, size)
        for node, count, drawn, drawn_weight in expand(found, profiles, rng):
            at = np.repeat(node, count), ragged(0, count)
            source[at], weight[at] = drawn, drawn_weight
    kept = source >= 0
    target = np.repeat(np.arange(len(source)), kept.sum(axis=1))
    return source[kept], target, weight[kept]


def _search(
    parts: list[sp.csr_matrix],
    profiles: Profiles,
    size: int,
    method: str,
    rng: np.random.Generator,
) -> Iterator[Found]:
    num_profiles = parts[0].shape[0]
    few = 2 * max(size, APPROXIMATE_NEIGHBORS)
    if num_profiles <= (DENSE_NODES if method == 'auto' else few):
        return _all_pairs(parts, profiles, size)
    space = _Space(parts, profiles, rng)
    if method == 'auto':
        products = sum((np.bincount(p.indices) ** 2.0).sum() for p in parts)
        method = 'exact' if products <= EXACT_PRODUCTS else 'approximate'
    seed = int(rng.integers(2**31))
    if method == 'exact':
        return _exact(space, size, seed)
    return _approximate(space, seed)


def _all_pairs(
    parts: list[sp.csr_matrix], profiles: Profiles, size: int
) -> Iterator[Found]:
    """Compares all pairs of few profiles."""
    num_profiles = parts[0].shape[0]
    step = max(1, BLOCK_ENTRIES // num_profiles)
    for start in range(0, num_profiles, step):
        rows = np.arange(start, min(start + step, num_profiles))
        weight = proximity(rows, *parts, count=profiles.count)
        # One more, because a node is not its own candidate.
        if size + 1 < num_profiles:
            edge = np.partition(weight, -size - 1, axis=1)[:, -size - 1, None]
            weight[weight < edge] = 0
        row, profile = weight.nonzero()
        yield rows[row], profile, weight[row, profile]


class _Space:
    r"""Query and key vectors whose inner products are weights.

    With the standard deviations :math:`\sigma` of a row's cosines, the weight of a node
    j that has a nonzero cosine with node i is

    .. math::
        w_{ij} = \frac{\cos(\mathbf{a}_i, \mathbf{a}_j)}{\sigma_i} +
        \frac{\cos(\mathbf{r}_i, \mathbf{r}_j)}{\sigma'_i} + c_{ij}

    above that of a node with nothing in common, where :math:`c_{ij} = \mu'_i /
    \sigma'_i` if i is rated and j is not, else 0.

    Attributes:
        keys: Normalized rows, attributes and ratings side by side, :obj:`[P, T]`.
        scale: Factors of the two parts of queries, :math:`1 / \sigma`, :obj:`[P, 2]`.
        split: The first column of the ratings.
        rated: True for profiles with ratings, :obj:`[P]`; all True without ratings.
        bonus: :math:`c_{ij}` of an unrated profile j, :obj:`[P]`.
    """

    def __init__(
        self, parts: list[sp.csr_matrix], profiles: Profiles, rng: np.random.Generator
    ) -> None:
        num_profiles, self.split = parts[0].shape
        self.scale = np.ones((num_profiles, 2))
        self.bonus = np.zeros(num_profiles)
        self.rated = np.ones(num_profiles, dtype=bool)
        _, self.scale[:, 0] = _moments(parts[0], profiles, self.rated, rng)
        if len(parts) > 1:
            self.rated = np.diff(parts[1].indptr) > 0
            mean, self.scale[:, 1] = _moments(parts[1], profiles, self.rated, rng)
            self.bonus = np.where(self.rated, mean * self.scale[:, 1], 0)
        self.keys = sp.hstack(parts, format='csr')

    def scaled(self, rows: np.ndarray, scale: np.ndarray) -> sp.csr_matrix:
        """Rows of the keys, with both parts multiplied by their scales."""
        chosen = self.keys[rows]
        part = (chosen.indices >= self.split).astype(np.int64)
        row = np.repeat(np.arange(len(rows)), np.diff(chosen.indptr))
        chosen.data = chosen.data * scale[row, part]
        return chosen

    def found(self, row: np.ndarray, profile: np.ndarray, product: np.ndarray) -> Found:
        """Pairs of positive weight, from the products of queries and keys."""
        bonus = np.where(self.rated[profile], 0, self.bonus[row])
        weight = np.where(product > 0, product + bonus, 0).round(TIE_DECIMALS)
        kept = weight > 0
        return row[kept], profile[kept], weight[kept]


def _moments(
    rows: sp.csr_matrix, profiles: Profiles, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means and inverse deviations of each profile's cosines with all other nodes.

    Means are exact. Variances are estimated by random projections, since there may be
    as many cosines as pairs: with independent signs s, the expectation of
    (sum of s_j (cos_j - mean))^2 is the sum of (cos_j - mean)^2. Profiles are compared
    with the profiles of the mask.
    """
    known = np.diff(rows.indptr) > 0
    others = max(1, (profiles.count * mask).sum() - 1)
    mean = (rows @ (rows.T @ (profiles.count * mask)) - known * mask) / others
    square = np.zeros(len(known))
    for _ in range(0, SIGNS, 8):
        sign = rng.integers(0, 2, (len(profiles.of), 8), dtype=np.int8) * 2.0 - 1
        of_profile = np.add.reduceat(sign[profiles.member], profiles.ptr[:-1])
        of_profile *= mask[:, None]
        # The node itself is not one of the others.
        own = sign[profiles.first] * mask[:, None]
        product = rows @ (rows.T @ of_profile) - own * known[:, None]
        product -= mean[:, None] * (of_profile.sum(axis=0) - own)
        square += (product**2).sum(axis=1)
    deviation = np.sqrt(square / SIGNS / others)
    deviation[deviation < 10.0**-TIE_DECIMALS] = 1
    return mean, 1 / deviation


def _exact(space: _Space, size: int, seed: int) -> Iterator[Found]:
    """The largest products, among rated and among unrated profiles separately."""
    topn = _library('sparse_dot_topn', 'exact').sp_matmul_topn
    # The library keeps the first of tied products, so the order is random.
    order = np.random.default_rng(seed).permutation(len(space.rated))
    groups = [order[space.rated[order]], order[~space.rated[order]]]
    keys = [(chosen, space.keys[chosen].T.tocsr()) for chosen in groups if len(chosen)]
    step = max(1, BLOCK_ENTRIES // (4 * size))
    for start in range(0, len(order), step):
        rows = np.arange(start, min(start + step, len(order)))
        query = space.scaled(rows, space.scale[rows])
        found = []
        for chosen, key in keys:
            # Twice as many as needed, so that more tied products take part.
            best = topn(query, key, 2 * size + 1, n_threads=torch.get_num_threads())
            best = best.tocoo()
            found.append((rows[best.row], chosen[best.col], best.data))
        row, profile, product = (np.concatenate(p) for p in zip(*found, strict=True))
        yield space.found(row, profile, product)


def _approximate(space: _Space, seed: int) -> Iterator[Found]:
    """The results of nearest-neighbor descent, with exact weights."""
    descent = _library('pynndescent', 'approximate').NNDescent
    import numba

    # One scale for all rows, because a scale per row would give no distance.
    scale = np.ones(2)
    scale[0] = space.scale[:, 0].mean()
    if space.rated.any():
        scale[1] = space.scale[space.rated, 1].mean()
    alive = np.flatnonzero(np.diff(space.keys.indptr))
    threads = torch.get_num_threads()
    index = descent(
        space.scaled(alive, np.tile(scale, (len(alive), 1))).astype(np.float32),
        metric='cosine',
        n_neighbors=APPROXIMATE_NEIGHBORS,
        random_state=seed,
        n_jobs=min(threads, numba.config.NUMBA_NUM_THREADS),
    )
    torch.set_num_threads(threads)  # numba has changed them
    neighbor = index.neighbor_graph[0]
    del index
    step = max(1, BLOCK_ENTRIES // (16 * neighbor.shape[1]))
    for start in range(0, len(alive), step):
        chosen = neighbor[start : start + step]
        row = np.repeat(alive[start : start + len(chosen)], chosen.shape[1])
        found = chosen.ravel() >= 0
        row, profile = row[found], alive[chosen.ravel()[found]]
        query = space.scaled(row, space.scale[row])
        product = query.multiply(space.keys[profile]).sum(axis=1).A1
        yield space.found(row, profile, product)


def _library(name: str, method: str):
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(
            f"'method' {method!r} needs the library {name.replace('_', '-')}; pip "
            f"install 'coldstart-pyg[scale]', or pass method='dense', which compares "
            f'all pairs'
        ) from error
