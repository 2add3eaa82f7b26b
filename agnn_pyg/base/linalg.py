"""Sparse linear algebra: singular vectors, low-rank factors and unit rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from agnn_pyg.base.csr import csr_tensor
from agnn_pyg.base.randomness import own_random_numbers

# The smaller dimension up to which factors come from a dense decomposition.
DENSE_SIZE = 500


def singular_vectors(
    x: sp.csr_matrix, rank: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The leading singular vectors and values by randomized SVD with a fixed seed."""
    matrix = csr_tensor(*map(torch.from_numpy, (x.indptr, x.indices, x.data)), x.shape)
    rank = min(rank, min(x.shape))
    with own_random_numbers():
        torch.default_generator.manual_seed(0)  # does not seed devices
        # Oversampling: the last singular vectors are the least exact.
        parts = torch.svd_lowrank(matrix, min(rank + 16, min(x.shape)), niter=4)
    left, value, right = (part[..., :rank].numpy() for part in parts)
    return left, value, right


def right_factors(x: sp.csr_matrix, rank: int) -> np.ndarray:
    """The leading right singular vectors times singular values, :obj:`[N, rank]`.

    The result is exact up to the solver's tolerance and deterministic.
    """
    from scipy.sparse.linalg import svds

    size = min(x.shape)
    if size <= DENSE_SIZE:
        # With few distinct singular values, the solver below restarts from random
        # numbers that cannot be seeded.
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
        # Tiny noise makes all singular values distinct.
        noise = np.random.default_rng(0).standard_normal(len(x.data))
        x = sp.csr_matrix((x.data * (1 + 1e-6 * noise), x.indices, x.indptr), x.shape)
        _, value, right = svds(x, k=rank, v0=start)
    return (right.T * value).copy()


def unit_rows(x: sp.csr_matrix) -> sp.csr_matrix:
    """Scales rows to length 1; rows of zeros stay zero."""
    length = np.sqrt(x.multiply(x).sum(axis=1).A1)
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 1e-6)
    return (sp.diags(scale) @ x).tocsr()


def ragged(start: np.ndarray | int, count: np.ndarray) -> np.ndarray:
    """Concatenates the ranges from each start to start + count."""
    return np.arange(count.sum()) + np.repeat(start - (count.cumsum() - count), count)
