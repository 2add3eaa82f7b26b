"""What is counted of interactions, and how pairs of items are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse

# The largest count that a word holds.
MOST = 2**15 - 1


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
        many: Pairs whose counts do not fit there, by
            :func:`beyond`, ascending, :obj:`[L]`.
        many_counts: These counts, :obj:`[L, 2]`.
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
    many: Tensor
    many_counts: Tensor

    def __deepcopy__(self, memo: dict) -> Tally:
        return self

    def of(
        self, one: Tensor, other: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is counted of pairs of items, three times :obj:`[P]`."""
        word = self.pair[one, other][:, None]
        counts, numbers = (word.view(kind) for kind in (torch.int16, torch.float))
        together, against = counts[:, 0].to(dtype), counts[:, 1].to(dtype)
        if len(self.many):
            key = one * len(self.pair) + other
            place = torch.searchsorted(self.many, key).clamp(max=len(self.many) - 1)
            found = self.many[place] == key
            counts = self.many_counts[place[found]].to(dtype)
            together[found], against[found] = counts.unbind(-1)
        return together, against, numbers[:, 1].to(dtype)


def packed(
    together: scipy.sparse.csr_matrix,
    against: scipy.sparse.csr_matrix,
    covary: scipy.sparse.csr_matrix,
) -> Tensor:
    """All that is counted of a pair in one word, so that one look finds it.

    A word holds two counts of 16 bits, :data:`MOST` at most, then a number of 32.
    """
    size = together.shape[0]
    word = torch.zeros(size, size, dtype=torch.long)
    for matrix, dtype, place in (
        (together, torch.int16, 0),
        (against, torch.int16, 1),
        (covary, torch.float32, 1),
    ):
        matrix = matrix.tocoo()
        value = torch.from_numpy(matrix.data)
        if dtype == torch.int16:
            value = value.clamp(max=MOST)
        view = word.view(dtype).view(size, size, -1)
        view[matrix.row, matrix.col, place] = value.to(dtype)
    return word


def beyond(
    together: scipy.sparse.csr_matrix, against: scipy.sparse.csr_matrix
) -> tuple[Tensor, Tensor]:
    """The pairs whose counts words do not hold, see :class:`Tally`. There are few."""
    size = together.shape[0]
    large = (together > MOST) + (against > MOST)
    many = np.sort(_keys(large.tocoo(), size))
    counts = np.zeros((len(many), 2))
    for column, matrix in enumerate((together, against)):
        matrix = matrix.multiply(large).tocoo()
        counts[np.searchsorted(many, _keys(matrix, size)), column] = matrix.data
    return torch.from_numpy(many), torch.from_numpy(counts).long()


def _keys(matrix: scipy.sparse.coo_matrix, size: int) -> np.ndarray:
    return matrix.row.astype(np.int64) * size + matrix.col
