"""Sparse matrices: rows of length 1, singular vectors and factors."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from agnn_pyg.base.randomness import own_random_numbers

# Rows or columns up to which factors come from a dense decomposition.
DENSE_SIZE = 500


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


def right_factors(x: sp.csr_matrix, rank: int) -> np.ndarray:
    """The leading right singular vectors, times singular values, :obj:`[N, rank]`.

    They are exact, as far as the solver is, and the same in each call.
    """
    from scipy.sparse.linalg import svds

    size = min(x.shape)
    if size <= DENSE_SIZE:
        # With few different singular values the solver below would go on from random
        # numbers of its own, which no seed repeats.
        if size == x.shape[1]:
            square, right = np.linalg.eigh((x.T @ x).toarray())
            factor = right * np.sqrt(square.clip(0))
        else:
            _, left = np.linalg.eigh((x @ x.T).toarray())
            factor = x.T @ left
        return factor[:, -rank:].copy()
    start = np.ones(size)
    _, value, right = svds(x, k=rank, v0=start)
    if rank > 1 and np.diff(value).min() < 1e-6 * value[-1]:
        # None are equal after changes as small as these.
        noise = np.random.default_rng(0).standard_normal(len(x.data))
        x = sp.csr_matrix((x.data * (1 + 1e-6 * noise), x.indices, x.indptr), x.shape)
        _, value, right = svds(x, k=rank, v0=start)
    return (right.T * value).copy()


def unit_rows(x: sp.csr_matrix) -> sp.csr_matrix:
    """Rows of length 1, except those of zeros."""
    length = np.sqrt(x.multiply(x).sum(axis=1).A1)
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 1e-6)
    return (sp.diags(scale) @ x).tocsr()
