"""How alike two nodes are, column by column: low-rank similarity relations.

A relation gives every node a row of features; the similarity of two nodes is
the inner product of their rows. Messages along a relation so cost a pass over
nodes, not over pairs of nodes, and no neighbourhood need be cut off.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.encoder import AttributeEncoder, TokenBags

if TYPE_CHECKING:
    import scipy.sparse

    from agnn_pyg.base.columns import ColumnEncoder

# No three columns have more: nine relations of at most 64 features each, and "all".
MAX_FEATURES = 9 * 64 + 1


class Relations(NamedTuple):
    """The similarity relations of one side, side by side.

    Attributes:
        x: Features of all relations, :obj:`[N, F]`. The first column is one: in
            relation 0, any two nodes are alike.
        relation: The relation of each column, ascending, :obj:`[F]`.
        names: Names of the relations.
    """

    x: Tensor
    relation: Tensor
    names: tuple[str, ...]

    def append(self, name: str, x: Tensor) -> Relations:
        """These relations and one more, of features :obj:`[N, F']`."""
        number = self.relation.new_full((x.size(1),), len(self.names))
        return Relations(
            torch.cat([self.x, x.to(self.x)], dim=1),
            torch.cat([self.relation, number]),
            (*self.names, name),
        )

    def to(self, device: torch.device | str) -> Relations:
        return Relations(self.x.to(device), self.relation.to(device), self.names)


def attribute_relations(
    encoder: AttributeEncoder,
    attributes: TokenBags,
    rank: int = 64,
    max_features: int = MAX_FEATURES,
) -> Relations:
    r"""A relation for each attribute column and for each pair of columns.

    In a column's relation two nodes are as alike as the cosine of their values
    says; near numbers are alike, too. In a pair's relation similarities are
    multiplied: only nodes that agree in both columns are alike. A multi-valued
    column is paired with itself as well, for which sharing one of many values
    counts little.

    .. note::
        A round of messages costs nodes times features of users times features of
        items, and pairs grow with the square of the number of columns. So features
        are bounded, by default such that three columns a side lose nothing. Of more
        columns each keeps a relation of its own, of fewer features if there are very
        many. What room is left goes to pairs in the order of the columns: the pairs of
        the first one, then of the second with those after it, and so on; last come
        multi-valued columns with themselves. So name first the columns that tell most.
        On 80,000 ratings by 1,500 users of 1,500 items, 12 columns a side take about 5
        times as long at the default, and 1.5 times at 256, as three columns do.

    Args:
        encoder (AttributeEncoder): A fitted encoder.
        attributes (TokenBags): What it made of the nodes.
        rank (int, optional): The most features of a relation; more are
            replaced by their leading singular vectors. (default: :obj:`64`)
        max_features (int, optional): The most features of all relations together,
            that of the relation "all" included. (default: :obj:`577`)

    Raises:
        ValueError: If :obj:`max_features` is not positive.
    """
    made = {}
    for name, x, column, width in bounded_features(
        encoder.column_encoders, attributes, rank, max_features
    ):
        made[name] = _reduce(x[:, column], width)
    return _join(attributes.num_nodes, made)


def bounded_features(
    fields: Sequence[ColumnEncoder], attributes: TokenBags, rank: int, max_features: int
) -> Iterator[tuple[str, scipy.sparse.csr_matrix, np.ndarray, int]]:
    """What :func:`similarity_features` yields, for as long as there is room for it.

    Yields:
        Name and features of a relation, the columns that hold anything, and how many
        features they are to be reduced to, if they are more.
    """
    if max_features < 1:
        raise ValueError(f"'max_features' must be positive (got {max_features})")
    left = max_features - 1  # Of the relation "all", in which nodes have a one.
    for k, (name, x) in enumerate(similarity_features(fields, attributes)):
        # None of the columns yet to come may be crowded out by an earlier one.
        share = left // max(1, len(fields) - k)
        width = min(rank, left, max(1, share))
        if not width:
            return
        column = filled(x)
        left -= min(width, len(column))
        yield name, x, column, width


def similarity_features(
    fields: Sequence[ColumnEncoder], attributes: TokenBags
) -> Iterator[tuple[str, scipy.sparse.csr_matrix]]:
    """By relation, rows whose inner products say how alike two nodes are.

    Columns are those of the vocabularies, whichever values the nodes have.
    """
    import scipy.sparse as sp

    hot = attributes.multi_hot()
    columns = {
        field.column: unit_rows(hot[:, field.offset : field.offset + len(field.values)])
        for field in fields
    }
    for field in fields:
        x = columns[field.column]
        if field.stype == 'numeric':
            x = sp.csr_matrix(x @ _smoother(x.shape[1]))
        yield field.column, x
    pairs = [*combinations(fields, 2)]
    pairs += [(f, f) for f in fields if f.stype == 'multi']
    for one, other in pairs:
        x = _row_products(columns[one.column], columns[other.column])
        yield f'{one.column} × {other.column}', x


def filled(x: scipy.sparse.csr_matrix) -> np.ndarray:
    """The columns of a matrix that hold anything."""
    return np.unique(x.indices)


def _join(num_nodes: int, parts: dict[str, np.ndarray]) -> Relations:
    result = Relations(
        torch.ones(num_nodes, 1), torch.zeros(1, dtype=torch.long), ('all',)
    )
    for name, x in parts.items():
        if x.any():
            result = result.append(name, scaled(x))
    return result


def _smoother(num_knots: int) -> np.ndarray:
    """Spreads a knot over those around it, an eighth of all either way."""
    gap = np.subtract.outer(np.arange(num_knots), np.arange(num_knots))
    return np.exp(-((gap / max(1, num_knots / 8)) ** 2))


def _reduce(x, rank: int) -> np.ndarray:
    if x.shape[1] <= rank:
        return x.toarray()
    left, value, _ = singular_vectors(x, rank)
    return left * value


def singular_vectors(x: scipy.sparse.csr_matrix, rank: int) -> tuple[np.ndarray, ...]:
    """The leading singular vectors and values, by seeded random projection."""
    x = x.tocoo()
    index = torch.from_numpy(np.stack([x.row, x.col]).astype(np.int64))
    matrix = torch.sparse_coo_tensor(
        index, torch.from_numpy(x.data), x.shape, check_invariants=False
    )
    rank = min(rank, min(x.shape))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # and no device's
        # Some more are drawn and dropped: the last ones are the least exact.
        parts = torch.svd_lowrank(matrix, min(rank + 16, min(x.shape)), niter=4)
    left, value, right = (part[..., :rank].numpy() for part in parts)
    return left, value, right


def _row_products(one, other) -> scipy.sparse.csr_matrix:
    """All products of the entries of two rows, row by row."""
    import scipy.sparse as sp

    one = one.tocoo()
    # Each entry of one matrix meets the entries that the other has in its row.
    start, count = other.indptr[one.row], np.diff(other.indptr)[one.row]
    first = np.repeat(np.arange(one.nnz), count)
    step = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    second = np.repeat(start, count) + step
    column = one.col[first].astype(np.int64) * other.shape[1] + other.indices[second]
    value = one.data[first] * other.data[second]
    shape = (one.shape[0], one.shape[1] * other.shape[1])
    return sp.csr_matrix((value, (one.row[first], column)), shape)


def unit_rows(x: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Rows of length 1, but for those of zeros."""
    import scipy.sparse as sp

    length = np.sqrt(x.multiply(x).sum(axis=1).A1)
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 1e-6)
    return (sp.diags(scale) @ x).tocsr()


def scaled(x: np.ndarray) -> Tensor:
    """Features such that nodes are alike to themselves by 1 on average."""
    x = torch.from_numpy(np.ascontiguousarray(x)).float()
    return x / x.square().sum(dim=1).mean().sqrt().clamp(min=1e-6)


class RatedPairs:
    """Rated pairs, sorted for messages either way.

    Args:
        index (Tensor): Pairs of user and item rows, :obj:`[2, R]`.
        num_users (int): Number of users.
        num_items (int): Number of items.
    """

    def __init__(self, index: Tensor, num_users: int, num_items: int) -> None:
        self.size = (num_users, num_items)
        user, item = index.long()  # or numbers of pairs would overflow
        #: Where each pair, in the order of this object, was in :obj:`index`.
        self.order = torch.argsort(user * num_items + item)
        self.user, self.item = user[self.order], item[self.order]
        self._mirrored = torch.argsort(self.item * num_users + self.user)
        self._user_ptr = _pointers(self.user, num_users)
        self._item_ptr = _pointers(self.item, num_items)
        self._user_mirrored = self.user[self._mirrored]

    def __len__(self) -> int:
        return len(self.user)

    def by_user(self, value: Tensor) -> Tensor:
        """Values as a sparse matrix :obj:`[users, items]`."""
        return _compressed(self._user_ptr, self.item, value, self.size)

    def by_item(self, value: Tensor) -> Tensor:
        """Values as a sparse matrix :obj:`[items, users]`."""
        value = value[self._mirrored]
        return _compressed(self._item_ptr, self._user_mirrored, value, self.size[::-1])

    def read(self, user: Tensor, item: Tensor) -> Tensor:
        """Inner products of the states at both ends of each pair, :obj:`[R]`."""
        pattern = self.by_user(user.new_zeros(len(self)))
        # Only the rated entries of the product are worked out.
        return torch.sparse.sampled_addmm(pattern, user, item.t(), beta=0).values()


def _compressed(
    pointer: Tensor, index: Tensor, value: Tensor, size: tuple[int, int]
) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch's note to its own users, which is of no use to ours.
        warnings.filterwarnings('ignore', 'Sparse CSR tensor support is in beta')
        return torch.sparse_csr_tensor(
            pointer, index, value, size, check_invariants=False
        )


def _pointers(index: Tensor, size: int) -> Tensor:
    count = torch.bincount(index, minlength=size).cumsum(0)
    return torch.cat([count.new_zeros(1), count])
