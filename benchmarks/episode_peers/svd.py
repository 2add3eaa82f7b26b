"""Truncated SVD with folding-in: a new user's row times the items' subspace."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD

from benchmarks.episode_peers.arrays import matrix, query, support
from tanp import Episodes


class SVDFoldIn:
    r"""Projects the liked part of the support onto the leading item vectors.

    .. math::
        s_t = x_t D V_r V_r^\top, \quad X D \approx U_r \Sigma_r V_r^\top, \quad
        D = \mathrm{diag}(n_j + \lambda)^{-1/2}

    with :math:`X` the likes of warm users and :math:`n_j` those of item
    :math:`j`.

    Args:
        rank (int): :math:`r`.
        damping (float): :math:`\lambda`, in users.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'rank': (4, 8, 16, 32, 64),
        'damping': (1, 10, 100),
    }
    likelihood: ClassVar[bool] = False

    def __init__(self, rank: int = 16, damping: float = 10) -> None:
        self.rank, self.damping = rank, damping

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> SVDFoldIn:
        known = query(warm)
        count = np.bincount(known.item, known.label, num_items)
        self.scale = 1 / np.sqrt(count + self.damping)
        scaled = known.label * self.scale[known.item]
        liked = matrix(known, scaled, (len(warm), num_items))
        self.items = item_vectors(liked, self.rank, seed)
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        given, asked = support(episodes), query(episodes)
        shape = (len(episodes), len(self.items))
        row = matrix(given, given.label * self.scale[given.item], shape)
        return np.einsum(
            'nr,nr->n', (row @ self.items)[asked.task], self.items[asked.item]
        )


def item_vectors(rows: sp.csr_array, rank: int, seed: int) -> np.ndarray:
    """The leading right singular vectors, :obj:`[items, rank]`."""
    rank = min(rank, min(rows.shape) - 1)
    svd = TruncatedSVD(rank, algorithm='randomized', n_iter=7, random_state=seed)
    return svd.fit(sp.csr_matrix(rows)).components_.T
