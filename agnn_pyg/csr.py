"""Sparse tensors with a pointer to each row."""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor


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
    _take_notice()
    return torch.sparse_csr_tensor(pointer, index, value, size, check_invariants=False)


@functools.cache
def _take_notice() -> None:
    """Makes PyTorch warn, to nobody, that CSR tensors are in beta: once a process.

    A filter around each tensor would be set and reset while other threads warn.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        empty = torch.empty(0)
        pointer = torch.zeros(2, dtype=torch.long)
        torch.sparse_csr_tensor(pointer, empty.long(), empty, (1, 1))
