"""Sparse tensors with a pointer to each row."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

# PyTorch says once a process that CSR tensors are in beta: here, to nobody. A filter
# around each tensor would be set and reset while other threads warn.
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    torch.sparse_csr_tensor(torch.zeros(2).long(), [], [], (1, 0))


def csr_tensor(
    pointer: Tensor, index: Tensor, value: Tensor, size: tuple[int, int]
) -> Tensor:
    """A sparse CSR tensor, whose parts are not checked.

    Args:
        pointer (Tensor): Where each row starts, and the end, :obj:`[size[0] + 1]`.
        index (Tensor): Columns, row by row, :obj:`[E]`.
        value (Tensor): Their values, :obj:`[E]`.
        size (tuple): Number of rows and of columns.
    """
    return torch.sparse_csr_tensor(pointer, index, value, size, check_invariants=False)
