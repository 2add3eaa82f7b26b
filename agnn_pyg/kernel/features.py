"""Explicit low-rank feature maps of attribute kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.linalg import ragged, singular_vectors, unit_rows

# The most features of a component, and of all components with the constant one: three
# columns have at most nine components.
RANK, MAX_FEATURES = 64, 9 * 64 + 1
BLOCK_NODES = 2**14
# Name of the component of edges given by the user.
LINKED = 'linked'
# Nodes that features are fitted on, and products of two values of a column, summed
# over them, up to which pairs take the values themselves. Of a column of longer lists
# pairs take features of this number.
MAX_NODES, MAX_PRODUCTS, PAIR_RANK = 2**15, 2**22, 16


class FeatureMaps(NamedTuple):
    """Features of N nodes, whose inner products within a component are a kernel.

    Component 0 is the constant: its kernel is 1 for any two nodes.
    """

    x: Tensor  # features of all components side by side, [N, F]
    component: Tensor  # the component of each feature, ascending, [F]
    names: tuple[str, ...]  # of the components

    def append(self, name: str, x: Tensor) -> FeatureMaps:
        """Returns these feature maps with one more component, :obj:`[N, F']`."""
        number = self.component.new_full((x.size(1),), len(self.names))
        return FeatureMaps(
            torch.cat([self.x, x.to(self.x)], dim=1),
            torch.cat([self.component, number]),
            (*self.names, name),
        )

    def first(self, width: int) -> FeatureMaps:
        """Returns the leading components, with :obj:`width` features."""
        names = self.names[: int(self.component[width - 1]) + 1]
        return FeatureMaps(self.x[:, :width], self.component[:width], names)

    def kernel(self, x: Tensor) -> Tensor:
        """Kernels of a node, features x, with all nodes, :obj:`[N, components]`."""
        made = self.x.new_zeros(len(self.names), len(self.x))
        product = (self.x * x).t().contiguous()
        return made.index_add_(0, self.component, product).t()


class _Column(NamedTuple):
    """The tokens of an attribute column."""

    name: str
    stype: str
    offset: int
    num_values: int
    projection: Tensor | None = None

    def factor(self, x: sp.csr_matrix) -> sp.csr_matrix:
        """Factor of column pairs: the values, or a few features of them."""
        if self.projection is None:
            return x
        return sp.csr_matrix(x @ self.projection.numpy())


class _Component(NamedTuple):
    """A fitted component: columns, tokens that occur, projection, scale."""

    columns: tuple[int, ...]
    filled: Tensor
    projection: Tensor | None
    scale: float = 1.0
    mean: Tensor | None = None  # of the features of the nodes of the fit

    @property
    def width(self) -> int:
        full = self.projection is None
        return len(self.filled) if full else self.projection.size(1)

    def __call__(self, x: sp.csr_matrix) -> np.ndarray:
        x = x[:, self.filled.numpy()]
        full = self.projection is None
        return self.scale * (x.toarray() if full else x @ self.projection.numpy())


class KernelFeatures:
    r"""Computes feature maps of attribute kernels from encoded attributes.

    There is a component for each column, one for each pair of columns, and a constant
    one:

    * The kernel of a column is the cosine of two nodes' values. Close numbers are also
      similar: a Gaussian of an eighth of the number of knots smooths them.
    * The kernel of a pair of columns is the product of their cosines, so only nodes
      that agree in both columns are similar. A multi-valued column is also paired with
      itself, which gives little weight to one common value among many. A column of long
      lists enters pairs through its leading singular vectors only.

    A component of more than 64 features is projected onto its leading right singular
    vectors. Each component is scaled so that the kernel of a node with itself is 1 on
    average. Both steps use only the nodes of the fit, which are those with ratings, so
    the features of any other node depend on its own attributes only. A component with
    missing cells (if the fit had none) or unseen values takes the mean of the fit.

    .. note::
        The number of pairs is quadratic in the number of columns, so there are at most
        577 features, enough for three columns, and fewer with fewer nodes. Each column
        keeps its own component, with fewer features if there are very many columns.
        The remaining features go to pairs in column order: pairs of the first column,
        then pairs of the second with later ones, and so on. Multi-valued columns paired
        with themselves come last. Put the most important columns first.
    """

    def fit(self, nodes: TokenBags, columns: Sequence[ColumnEncoder]) -> KernelFeatures:
        """Fits the components on nodes with ratings, encoded by the columns."""
        self.columns_ = [
            _Column(str(c.column), c.stype, c.offset, len(c.values)) for c in columns
        ]
        if nodes.num_nodes > MAX_NODES:
            nodes = nodes.take(torch.linspace(0, nodes.num_nodes - 1, MAX_NODES).long())
        cosine = self._cosines(nodes)
        for k, x in enumerate(cosine):
            if np.square(np.diff(x.indptr), dtype=np.float64).sum() > MAX_PRODUCTS:
                right = torch.from_numpy(singular_vectors(x, PAIR_RANK)[2])
                self.columns_[k] = self.columns_[k]._replace(projection=right)
        # The kernels of N nodes span N dimensions, so about N features suffice.
        left = min(MAX_FEATURES, max(2 * RANK, nodes.num_nodes)) - 1
        self.components_: list[_Component] = []
        for k, pair in enumerate(self._candidates()):
            # Earlier columns must leave features for each later column.
            room = left // max(1, len(columns) - k)
            width = min(RANK, left, max(1, room))
            if not width:
                break
            x = self._product(cosine, pair)
            filled = np.unique(x.indices)
            if not len(filled):
                continue
            left -= min(width, len(filled))
            right = None
            if len(filled) > width:
                right = singular_vectors(x[:, filled], width)[2]
                right = torch.from_numpy(np.ascontiguousarray(right))
            part = _Component(pair, torch.from_numpy(filled), right)
            length = np.square(part(x)).sum(axis=1).mean() ** 0.5
            self.components_.append(part._replace(scale=1 / max(float(length), 1e-6)))
        self._fit_means(nodes)
        return self

    def _fit_means(self, nodes: TokenBags) -> None:
        width = [1, *(part.width for part in self.components_)]
        _, *means = self._features(nodes).mean(dim=0).split(width)
        parts = zip(self.components_, means, strict=True)
        self.components_ = [part._replace(mean=mean) for part, mean in parts]

    def transform(
        self, nodes: TokenBags, positions: Tensor | None = None
    ) -> FeatureMaps:
        """Computes the features of N nodes, encoded by the columns of the fit.

        Optional :obj:`positions` in a graph, :obj:`[N, F]`, are one more component.
        """
        x = self._features(nodes)
        unknown = self.unknown(nodes)[0]
        row = unknown.any(dim=1)
        mean = torch.cat([x.new_ones(1), *(part.mean for part in self.components_)])
        x[row] = torch.where(unknown[row][:, self.component], mean, x[row])
        maps = FeatureMaps(x, self.component, ('constant', *self.names))
        return maps if positions is None else maps.append(LINKED, positions)

    def _features(self, nodes: TokenBags) -> Tensor:
        """Features, :obj:`[N, F]`, with zeros for unknown values."""
        component = self.component.numpy()
        x = np.ones((nodes.num_nodes, len(component)), np.float32)
        for start in range(0, len(x), BLOCK_NODES):
            block = slice(start, start + BLOCK_NODES)
            cosine = self._cosines(nodes.take(block))
            for k, part in enumerate(self.components_, start=1):
                x[block, component == k] = part(self._product(cosine, part.columns))
        return torch.from_numpy(x)

    def unknown(self, nodes: TokenBags) -> tuple[Tensor, Tensor]:
        """Masks of components with all, and with some, columns unknown.

        Masks are :obj:`[N, components]`, with the constant. A cell is unknown if it has
        no token. Missing cells have a token if the fit had missing cells.
        """
        row, slot = (nodes.weight > 0).nonzero(as_tuple=True)
        offset = torch.tensor([column.offset for column in self.columns_])
        column = torch.bucketize(nodes.index[row, slot], offset, right=True) - 1
        known = torch.zeros(nodes.num_nodes, len(offset)).bool()
        known[row, column] = True
        found = [known[:, part.columns] for part in self.components_]
        constant = torch.ones(nodes.num_nodes, 1).bool()
        any_known = [k.any(dim=1, keepdim=True) for k in found]
        all_known = [k.all(dim=1, keepdim=True) for k in found]
        return tuple(~torch.cat([constant, *k], 1) for k in (any_known, all_known))

    @property
    def component(self) -> Tensor:
        """The component of each feature; the first one is the constant."""
        width = torch.tensor([1, *(part.width for part in self.components_)])
        return torch.arange(len(width)).repeat_interleave(width)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, except the constant one."""
        return tuple(
            ' × '.join(self.columns_[k].name for k in part.columns)
            for part in self.components_
        )

    def state_dict(self) -> dict[str, Any]:
        """The fitted maps as plain data and tensors."""
        return {
            'columns': [tuple(column) for column in self.columns_],
            'components': [tuple(component) for component in self.components_],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> KernelFeatures:
        """The inverse of :meth:`state_dict`."""
        made = cls()
        made.columns_ = [_Column(*column) for column in state['columns']]
        made.components_ = [_Component(*part) for part in state['components']]
        return made

    def _candidates(self) -> Iterator[tuple[int, ...]]:
        """Yields the columns of each component in the order of allocation."""
        numbers = range(len(self.columns_))
        yield from ((k,) for k in numbers)
        yield from combinations(numbers, 2)
        yield from ((k, k) for k in numbers if self.columns_[k].stype == 'multi')

    def _cosines(self, nodes: TokenBags) -> list[sp.csr_matrix]:
        """Unit rows per column, whose inner products are cosines."""
        hot = nodes.multi_hot()
        return [
            unit_rows(hot[:, c.offset : c.offset + c.num_values]) for c in self.columns_
        ]

    def _product(
        self, cosine: list[sp.csr_matrix], columns: tuple[int, ...]
    ) -> sp.csr_matrix:
        """All features of the component of one column or of two."""
        if len(columns) == 2:
            return row_products(*(self.columns_[k].factor(cosine[k]) for k in columns))
        x = cosine[columns[0]]
        if self.columns_[columns[0]].stype in ('numeric', 'date'):
            x = sp.csr_matrix(x @ _smoother(x.shape[1]))
        return x


class ColumnFeatures(KernelFeatures):
    """Features of single columns, for positives, where column pairs rank worse.

    The kernel of lists is multiplied by the square roots of both lengths, so that a
    film of three genres has larger kernels than a film of one. The sum over components
    of the kernel of a node with itself is 1 on average.
    """

    def fit(self, nodes: TokenBags, columns: Sequence[ColumnEncoder]) -> ColumnFeatures:
        super().fit(nodes, columns)
        mean = self._lengths(nodes)[:, 1:].square().mean(dim=0).sqrt().tolist()
        self.components_ = [
            part._replace(scale=part.scale / max(length, 1e-6))
            for part, length in zip(self.components_, mean, strict=True)
        ]
        self._fit_means(nodes)
        return self

    def transform(
        self, nodes: TokenBags, positions: Tensor | None = None
    ) -> FeatureMaps:
        maps = super().transform(nodes, positions)
        return maps._replace(x=maps.x / len(maps.names) ** 0.5)

    def _features(self, nodes: TokenBags) -> Tensor:
        return super()._features(nodes) * self._lengths(nodes)[:, self.component]

    def _candidates(self) -> Iterator[tuple[int, ...]]:
        return ((k,) for k in range(len(self.columns_)))

    def _lengths(self, nodes: TokenBags) -> Tensor:
        """Square roots of list lengths by component, else 1, :obj:`[N, K]`."""
        hot = nodes.multi_hot()
        made = nodes.weight.new_ones(nodes.num_nodes, len(self.components_) + 1)
        for k, part in enumerate(self.components_, start=1):
            column = self.columns_[part.columns[0]]
            if column.stype == 'multi':
                own = hot[:, column.offset : column.offset + column.num_values]
                length = torch.from_numpy(own.power(2).sum(axis=1).A1)
                made[:, k] = length.float().sqrt()
        return made


def _smoother(num_knots: int) -> np.ndarray:
    gap = np.subtract.outer(np.arange(num_knots), np.arange(num_knots))
    return np.exp(-((gap / max(1, num_knots / 8)) ** 2))


def row_products(one: sp.csr_matrix, other: sp.csr_matrix) -> sp.csr_matrix:
    """Computes all products of entries of two matrices, row by row."""
    one = one.tocoo()
    # Multiplies each entry by all entries of the same row of the other matrix.
    start, count = other.indptr[one.row], np.diff(other.indptr)[one.row]
    first, second = np.repeat(np.arange(one.nnz), count), ragged(start, count)
    column = one.col[first].astype(np.int64) * other.shape[1] + other.indices[second]
    value = one.data[first] * other.data[second]
    shape = (one.shape[0], one.shape[1] * other.shape[1])
    return sp.csr_matrix((value, (one.row[first], column)), shape)
