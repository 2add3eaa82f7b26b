"""What linear and tree peers read: attributes as columns, on training terms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from agnn_pyg import AttributeEncoder
from data.tables import RatingTables

# Every peer is given what AGNN is given; a table that lacks one goes without.
USER_ATTRIBUTES = ('age', 'gender', 'occupation')
ITEM_ATTRIBUTES = ('genre', 'country', 'year')
MIN_COUNT = 5
NUM_KNOTS = 16


def attribute_matrix(
    tables: RatingTables, side: str, train: pd.DataFrame, columns: tuple[str, ...]
) -> sp.csr_matrix:
    """Token weights of all nodes of a side, :obj:`[N, tokens]`.

    The vocabulary is that of the nodes that are trained on, as AGNN's is.

    Args:
        tables: Users and items.
        side: ``'user'`` or ``'item'``.
        train: Training ratings.
        columns: Attribute columns; those the table lacks are passed over.
    """
    frame = tables.users if side == 'user' else tables.items
    columns = [column for column in columns if column in frame]
    if not columns:
        return sp.csr_matrix((len(frame), 0))
    encoder = AttributeEncoder(columns, MIN_COUNT, NUM_KNOTS)
    bags = encoder.fit(frame[frame[side].isin(train[side])]).transform(frame)
    row, slot = (bags.weight != 0).nonzero(as_tuple=True)
    entries = (bags.weight[row, slot].double().numpy(), (row, bags.index[row, slot]))
    return sp.csr_matrix(entries, shape=(len(frame), encoder.num_tokens))[:, 1:]


def one_hot(index: np.ndarray, size: int) -> sp.csr_matrix:
    """Rows with a single one each, :obj:`[len(index), size]`."""
    ones = np.ones(len(index))
    return sp.csr_matrix((ones, index, np.arange(len(index) + 1)), (len(index), size))


def row_products(left: sp.csr_matrix, right: sp.csr_matrix) -> sp.csr_matrix:
    """All products of two rows' entries: the Kronecker product row by row."""
    left, right = left.tocsr(), right.tocsr()
    count = np.diff(left.indptr) * np.diff(right.indptr)
    row = np.repeat(np.arange(left.shape[0]), np.diff(left.indptr))
    width = np.diff(right.indptr)[row]
    # Each entry on the left meets the whole row on the right.
    start = np.repeat(right.indptr[row] - (np.cumsum(width) - width), width)
    other = start + np.arange(width.sum())
    each = np.repeat(np.arange(left.nnz), width)
    column = left.indices[each].astype(np.int64) * right.shape[1] + right.indices[other]
    value = left.data[each] * right.data[other]
    pointer = np.concatenate([[0], np.cumsum(count)])
    shape = (left.shape[0], left.shape[1] * right.shape[1])
    return sp.csr_matrix((value, column, pointer), shape)
