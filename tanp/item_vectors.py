"""Vectors of items, by who likes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse


def item_vectors(like: scipy.sparse.csr_matrix, rank: int, damping: float) -> Tensor:
    r"""Item vectors of a truncated SVD of :math:`X \mathrm{diag}(|P_i| + d)^{-1/2}`."""
    import scipy.sparse
    from scipy.sparse.linalg import svds

    like = like.astype(np.float64)
    weight = scipy.sparse.diags(1 / np.sqrt(np.asarray(like.sum(0)).ravel() + damping))
    # A fixed start makes the solver repeat exactly.
    _, value, right = svds(like @ weight, k=rank, v0=np.ones(min(like.shape)))
    return torch.from_numpy((right.T * value).copy()).float()


def aligned(vector: Tensor, reference: Tensor) -> Tensor:
    """The vectors, rotated onto the reference (orthogonal Procrustes)."""
    left, _, right = torch.linalg.svd(vector.t() @ reference)
    return vector @ (left @ right)
