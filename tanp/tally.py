"""What is counted of interactions, and how pairs of items are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse


class Tally(NamedTuple):
    """All interactions counted. Nothing changes it in place, so copies share it.

    Attributes:
        like: How many like an item, :obj:`[I]`.
        dislike: How many do not, :obj:`[I]`.
        total: Sum of its labels, :obj:`[I]`.
        centred: Labels, each less its user's mean, :obj:`[M]`.
        square: Sum of an item's squared centred labels, :obj:`[I]`.
        user_total: Sum of a user's labels, :obj:`[U + 1]`.
        user_size: How many those are, :obj:`[U + 1]`.
        grand_total: Sum of all labels.
        pair: What is counted of pairs of items, see :func:`packed`, :obj:`[I, I]`.
    """

    like: Tensor
    dislike: Tensor
    total: Tensor
    centred: Tensor
    square: Tensor
    user_total: Tensor
    user_size: Tensor
    grand_total: Tensor
    pair: Tensor

    def __deepcopy__(self, memo: dict) -> Tally:
        return self


def packed(
    together: scipy.sparse.csr_matrix,
    against: scipy.sparse.csr_matrix,
    covary: scipy.sparse.csr_matrix,
) -> Tensor:
    """All that is counted of a pair in one word, so that one look finds it.

    A word holds two counts of 16 bits, then a number of 32.
    """
    size = together.shape[0]
    word = torch.zeros(size, size, dtype=torch.long)
    for matrix, dtype, place in (
        (together, torch.int16, 0),
        (against, torch.int16, 1),
        (covary, torch.float32, 1),
    ):
        matrix = matrix.tocoo()
        value = torch.from_numpy(matrix.data).to(dtype)
        word.view(dtype).view(size, size, -1)[matrix.row, matrix.col, place] = value
    return word


def unpacked(word: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The three matrices' entries of words :obj:`[P]`."""
    counts, numbers = (word[:, None].view(kind) for kind in (torch.int16, torch.float))
    return counts[:, 0].to(dtype), counts[:, 1].to(dtype), numbers[:, 1].to(dtype)
