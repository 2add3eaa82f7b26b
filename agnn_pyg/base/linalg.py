"""Sparse matrices: rows of length 1, and singular vectors."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from agnn_pyg.base.randomness import own_random_numbers


def singular_vectors(
    x: sp.csr_matrix, rank: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The leading singular vectors and values, by seeded random projection."""
    x = x.tocoo()
    index = torch.from_numpy(np.stack([x.row, x.col]).astype(np.int64))
    matrix = torch.sparse_coo_tensor(
        index, torch.from_numpy(x.data), x.shape, check_invariants=False
    )
    rank = min(rank, min(x.shape))
    with own_random_numbers():
        torch.default_generator.manual_seed(0)  # leaves those of devices alone
        # A few more are drawn and dropped: the last ones are the least exact.
        parts = torch.svd_lowrank(matrix, min(rank + 16, min(x.shape)), niter=4)
    left, value, right = (part[..., :rank].numpy() for part in parts)
    return left, value, right


def unit_rows(x: sp.csr_matrix) -> sp.csr_matrix:
    """Rows of length 1, except those of zeros."""
    length = np.sqrt(x.multiply(x).sum(axis=1).A1)
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 1e-6)
    return (sp.diags(scale) @ x).tocsr()
