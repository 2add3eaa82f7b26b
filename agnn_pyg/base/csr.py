"""Sparse CSR tensors."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

# PyTorch warns once per process that CSR tensors are in beta. Trigger and suppress the
# warning here: filters around each tensor would not be thread-safe.
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    torch.sparse_csr_tensor(torch.zeros(2).long(), [], [], (1, 0))


def csr_tensor(
    pointer: Tensor, index: Tensor, value: Tensor, size: tuple[int, int]
) -> Tensor:
    """A sparse CSR tensor without checks of its invariants.

    Args:
        pointer (Tensor): Start of each row, and the end, :obj:`[size[0] + 1]`.
        index (Tensor): Column indices, row by row, :obj:`[E]`.
        value (Tensor): Values, :obj:`[E]`.
        size (tuple): Number of rows and of columns.
    """
    return torch.sparse_csr_tensor(pointer, index, value, size, check_invariants=False)
