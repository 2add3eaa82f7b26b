"""Messages along rated edges: biases, ridge slopes and aggregated embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.utils import cumsum, degree

from agnn_pyg.base.csr import csr_tensor
from agnn_pyg.base.randomness import own_random_numbers
from agnn_pyg.damped_biases import damped_biases, damped_mean

# Number of sweeps of the damped biases, which converge quickly.
SWEEPS = 3
# Damping: added to the degrees of nodes in biases, positions and messages.
DAMPING = 5.0
# Divisors that scale log-degrees and messages to the magnitude of embeddings.
COUNT_SCALE, MESSAGE_SCALE = 5, 0.3


class RatedEdges:
    """Rated edges between users and items, :obj:`[2, E]`, and their residuals.

    Attributes:
        count: Number of edges of each user, and of each item.
    """

    def __init__(
        self, edge_index: Tensor, residual: Tensor, size: tuple[int, int]
    ) -> None:
        ones = torch.ones_like(residual)
        # One sparse matrix per end, with a row per node of that end. Each is the
        # transpose of the other.
        self.count, self._ones, self._residuals = [], [], []
        for end in (0, 1):
            count = degree(edge_index[end], size[end], residual.dtype)
            self.count.append(count)
            order = edge_index[end].argsort(stable=True)
            index = cumsum(count.long()), edge_index[1 - end][order]
            shape = size[end], size[1 - end]
            for made, value in ((self._ones, ones), (self._residuals, residual)):
                made.append(csr_tensor(*index, value[order], shape))

    def sum(self, end: int, x: Tensor, residual: bool = False) -> Tensor:
        r"""Sums over the neighbors j of each node i of one end, 0 or 1.

        :math:`\sum_j \mathbf{x}_j` or, with :obj:`residual`, :math:`\sum_j
        \epsilon_{ij} \mathbf{x}_j`.
        """
        matrices = self._residuals if residual else self._ones
        # PyTorch has no sparse products in half precision.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(matrices[end].dtype)
            return _SparseProduct.apply(matrices[end], matrices[1 - end], x)


def rated_edges(
    edge_index: Tensor, rating: Tensor, size: tuple[int, int], positives: bool = False
) -> tuple[RatedEdges, list[Tensor]]:
    r"""Computes residuals and biases of users and items *from these edges alone*.

    A rating that is not an edge therefore affects no message. The residual of an edge
    is its rating less the global mean and the damped biases of both ends, see
    :func:`~agnn_pyg.damped_biases.damped_biases`.

    With :obj:`positives`, edges have weights in place of residuals. The bias of an item
    with :math:`n_i > 0` edges is its log-popularity :math:`\ln \, (n_i + \delta) /
    (\bar{n} + \delta)`, :math:`\bar{n}` the mean over such items. Other biases are 0.
    """
    if not positives:
        bias, residual = damped_biases(edge_index, rating, size, DAMPING, SWEEPS)
        return RatedEdges(edge_index, residual, size), bias
    edges = RatedEdges(edge_index, rating, size)
    count = edges.count[1]
    has_edges = count > 0
    mean = count.sum() / has_edges.sum().clamp(min=1)
    popularity = ((count + DAMPING) / (mean + DAMPING)).log() * has_edges
    return edges, [rating.new_zeros(size[0]), popularity]


class _SparseProduct(torch.autograd.Function):
    """The product of a constant sparse matrix and x, with a precomputed transpose."""

    @staticmethod
    def forward(ctx, matrix, transpose, x):
        ctx.transpose = transpose
        return matrix @ x

    @staticmethod
    def backward(ctx, grad):
        return None, None, ctx.transpose @ grad


class RidgeSlopes(nn.Module):
    r"""Ridge regression of the residuals of each node on features of its neighbors.

    .. math::
        \boldsymbol{\beta}_i = \Big( \sum_{j \in \mathcal{N}(i)} \mathbf{z}_j
        \mathbf{z}_j^\top + \mathrm{diag}(\boldsymbol{\lambda}) \Big)^{-1}
        \sum_{j \in \mathcal{N}(i)} \epsilon_{ij} \mathbf{z}_j

    The penalty :math:`\boldsymbol{\lambda}` is learned. Gradients reach the features
    through the solution. A node without edges has slopes of 0.

    Args:
        channels (int): Size of :math:`\mathbf{z}`.
        penalty (float, optional): Initial value of the penalty. (default: :obj:`20.0`)
    """

    def __init__(self, channels: int, penalty: float = 20.0) -> None:
        super().__init__()
        self.penalty = penalty
        self.log_penalty = nn.Parameter(torch.empty(channels))
        row, col = torch.triu_indices(channels, channels)
        place = torch.empty(channels, channels, dtype=torch.long)
        place[row, col] = place[col, row] = torch.arange(len(row))
        for name, index in (('row', row), ('col', col), ('place', place.flatten())):
            self.register_buffer(name, index, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.log_penalty, torch.tensor(self.penalty).log().item())

    def forward(self, edges: RatedEdges, end: int, z: Tensor) -> Tensor:
        """Computes the slopes of users (end 0) or items (end 1), :obj:`[N, C]`.

        :obj:`z` holds the features of the nodes of the other end, :obj:`[M, C]`.
        """
        # The products are symmetric, so only half of them are summed.
        product = z.index_select(1, self.row) * z.index_select(1, self.col)
        gram = edges.sum(end, product).index_select(1, self.place)
        gram = gram.view(-1, z.size(1), z.size(1)) + self.log_penalty.exp().diag()
        right = edges.sum(end, z, residual=True).unsqueeze(-1)
        return torch.cholesky_solve(right, torch.linalg.cholesky(gram)).squeeze(-1)


class RatingState(NamedTuple):
    r"""Outputs of a :class:`RatingLayer` for the nodes of one end.

    Attributes:
        x: Embeddings :math:`\mathbf{h}` after the hidden layer, :obj:`[N, C]`.
        bias: Damped biases, :obj:`[N]`.
        slope: Weighted slopes :math:`\boldsymbol{\beta}`, :obj:`[N, S]`.
        feature: Features :math:`\mathbf{z}`, on which the other end is regressed.
        vectors: The singular vectors :math:`\mathbf{v}`, :obj:`[N, K]`.
        source: The inputs :math:`\mathbf{x}` of messages, :obj:`[N, C]`.
    """

    x: Tensor
    bias: Tensor
    slope: Tensor
    feature: Tensor
    vectors: Tensor
    source: Tensor


class RatingLayer(nn.Module):
    r"""A graph layer that passes ratings along the edges between users and items.

    1. *Positions*: :math:`\mathbf{s}_i \propto \sum_{j \in \mathcal{N}(i)}
       \mathbf{v}_j`, scaled to length 1. The singular vectors :math:`\mathbf{v}` are
       those of the normalized matrix of training pairs, see :meth:`fit_positions`.
    2. *Slopes* :math:`\boldsymbol{\beta}_i`, see :class:`RidgeSlopes`, on the features
       :math:`\mathbf{z} = [\mathbf{W}_\mathrm{feature} \mathbf{a} +
       \mathbf{W}_\mathrm{feature\_position} \mathbf{s} \, \Vert \, 1]` of attributes
       :math:`\mathbf{a}` and positions.
    3. *Inputs*: :math:`\mathbf{x}_i \leftarrow \mathbf{x}_i +
       \mathbf{W}_\mathrm{position} \mathbf{s}_i + \mathbf{W}_\mathrm{slope}
       \boldsymbol{\beta}_i + \mathbf{w}_\mathrm{count} \log(1 + |\mathcal{N}(i)|) / 5`.
    4. *Messages*, gated by the target:

       .. math::
           \mathbf{m}_i = \frac{\sum_{j} (\epsilon_{ij} \mathbf{W}_\mathrm{residual} +
           \mathbf{W}_\mathrm{mean}) \, \mathbf{x}_j}{0.3 \, (|\mathcal{N}(i)| +
           \delta)}, \quad \mathbf{h}_i = \mathbf{x}_i + \sigma(
           \mathbf{W}_\mathrm{gate} [\mathbf{x}_i \, \Vert \, \mathbf{m}_i]) \odot
           \mathbf{m}_i

    5. *Hidden layer*: :math:`\mathbf{h}_i \leftarrow \mathbf{h}_i +
       \mathbf{W}_\mathrm{out} \, \mathrm{ReLU}(\mathbf{W}_\mathrm{in} \mathbf{h}_i)`.

    Subscripts name modules, such as :obj:`lin_position`, each with one matrix for users
    and one for items. The formulas omit the biases of linear maps.

    With positives instead of ratings, messages use the weights :math:`w_{ui}` in place
    of residuals, and the bias of an item is its log-popularity (:func:`rated_edges`).
    There are no slopes, because positives without negatives have no contrast to fit.

    Args:
        num_nodes (tuple): Number of users and of items with a position.
        channels (int): Size of embeddings.
        spectral_channels (int, optional): Number of singular vectors; 0 for none.
            (default: :obj:`32`)
        slope_channels (int, optional): Number of slopes of a node; 0 for none.
            (default: :obj:`16`)
        messages (bool, optional): If set to :obj:`False`, step 4 is skipped.
            (default: :obj:`True`)
        dropout (float, optional): Dropout within the layer. (default: :obj:`0.0`)
        positives (bool, optional): Whether edges are positives without ratings.
            (default: :obj:`False`)
    """

    def __init__(
        self,
        num_nodes: tuple[int, int],
        channels: int,
        spectral_channels: int = 32,
        slope_channels: int = 16,
        *,
        messages: bool = True,
        dropout: float = 0.0,
        positives: bool = False,
    ) -> None:
        super().__init__()
        self.messages = messages
        self.positives = positives
        k = self.spectral_channels = min(spectral_channels, *num_nodes)
        s = self.slope_channels = 0 if positives else slope_channels
        for end, number in enumerate(num_nodes):
            self.register_buffer(f'vectors_{end}', torch.zeros(number, k))

        def both(*sizes: int, bias: bool = False) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(*sizes, bias=bias) for _ in num_nodes)

        self.lin_count = both(1, channels)
        if k:
            self.lin_position = both(k, channels)
        if s > 1:
            self.lin_feature = both(channels, s - 1, bias=True)
            if k:
                self.lin_feature_position = both(k, s - 1)
        if s:
            self.ridge = nn.ModuleList(RidgeSlopes(s) for _ in num_nodes)
            self.lin_slope = both(s, channels)
            self.slope_weight = nn.Parameter(torch.empty(2))
        if messages:
            self.lin_residual = both(channels, channels)
            self.lin_mean = both(channels, channels)
            self.lin_gate = both(2 * channels, channels, bias=True)
        self.lin_in = both(channels, 2 * channels, bias=True)
        self.lin_out = both(2 * channels, channels, bias=True)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    @property
    def vectors(self) -> tuple[Tensor, Tensor]:
        return self.vectors_0, self.vectors_1

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Linear, RidgeSlopes)):
                module.reset_parameters()
        if self.slope_channels:
            nn.init.constant_(self.slope_weight, 0.5)
        for lin in self.lin_out:
            nn.init.zeros_(lin.weight)
            nn.init.zeros_(lin.bias)

    @torch.no_grad()
    def fit_positions(self, edge_index: Tensor) -> None:
        r"""Sets the singular vectors :math:`\mathbf{v}` of the training pairs.

        The decomposed matrix is :math:`\mathbf{D}_u^{-1/2} \mathbf{M}
        \mathbf{D}_i^{-1/2}`, with the 0/1 matrix :math:`\mathbf{M}` of pairs and damped
        degrees :math:`\mathbf{D}` (plus :math:`\delta`). Rows are multiplied by their
        :math:`\mathbf{D}^{-1/2}` and columns by 1 / singular value, so that the sum
        over the edges of a node is its position.
        """
        if not self.spectral_channels:
            return
        shape = tuple(map(len, self.vectors))
        index, k = edge_index.cpu(), self.spectral_channels
        scale = [
            (degree(row, size, torch.double) + DAMPING).rsqrt()
            for row, size in zip(index, shape, strict=True)
        ]
        weight = scale[0][index[0]] * scale[1][index[1]]
        matrix = torch.sparse_coo_tensor(index, weight, shape, check_invariants=False)
        # A seeded method: ARPACK has no seed but draws if singular values are equal.
        with own_random_numbers():
            torch.default_generator.manual_seed(0)
            parts = torch.svd_lowrank(matrix.coalesce(), min(2 * k, *shape), 10)
        left, value, right = parts
        inverse = torch.where(value > 1e-6, 1 / value, 0.0)
        for own, root, vectors in zip(self.vectors, scale, (left, right), strict=True):
            own.copy_((vectors * root[:, None] * inverse)[:, :k])

    def forward(
        self,
        x: Sequence[Tensor],
        attributes: Sequence[Tensor],
        edge_index: Tensor,
        rating: Tensor,
        n_id: Sequence[Tensor | None] = (None, None),
    ) -> list[RatingState]:
        """Embeds users and items.

        Args:
            x: Embeddings of users and of items.
            attributes: Attribute embeddings of users and of items.
            edge_index: The edges that carry messages, :obj:`[2, E]`.
            rating: Ratings of the edges less the global mean, :obj:`[E]`.
            n_id: Rows of the nodes in the singular vectors. (default: 0 to N - 1)

        Raises:
            ValueError: If the number of ratings is not that of edges, if :obj:`n_id` is
                missing and the number of nodes is not that of the fit, or if the layer
                was converted to half precision. Use autocast instead.
        """
        size = len(x[0]), len(x[1])
        if rating.size() != edge_index.size()[1:]:
            raise ValueError(
                f"'rating' must have the size {list(edge_index.size()[1:])}, one for "
                f'each edge (got {list(rating.size())})'
            )
        edges, bias = rated_edges(edge_index, self._cast(rating), size, self.positives)
        vectors = [self._vectors(end, n_id[end], size[end]) for end in (0, 1)]
        x = dict(enumerate(x))
        return self._embed(x, attributes, edges, bias, vectors, feature={}, source={})

    def add_nodes(
        self,
        end: int,
        x: Tensor,
        attributes: Tensor,
        edge_index: Tensor,
        rating: Tensor,
        other: RatingState,
    ) -> RatingState:
        """Embeds new nodes of one end without a change to nodes of the other end.

        The bias of new items with few positives is 0: they are new, not unpopular. Each
        edge joins a new node and a node of the :obj:`other` end. The other arguments
        are as in :meth:`forward`, for one end.
        """
        rating = self._cast(rating)
        size = {end: len(x), 1 - end: len(other.x)}
        bias = rating.new_zeros(len(x))
        if not self.positives:
            new, old = edge_index[end], edge_index[1 - end]
            rest = rating - other.bias[old]
            bias = damped_mean(rest, new, len(x), DAMPING)
            rating = rest - bias[new]
        edges = RatedEdges(edge_index, rating, (size[0], size[1]))
        own = self.vectors_0.new_zeros(len(x), self.spectral_channels)
        vectors = {end: own, 1 - end: other.vectors}
        feature, source = {1 - end: other.feature}, {1 - end: other.source}
        parts = {end: attributes}, edges, {end: bias}, vectors, feature, source
        return self._embed({end: x}, *parts)[0]

    def _embed(
        self, x, attributes, edges, bias, vectors, feature, source
    ) -> list[RatingState]:
        """Embeds the nodes of one or both ends; :obj:`x` maps an end to its nodes.

        For an end that is not in :obj:`x`, the features and sources must be given.
        """
        slope = {}
        for end in x:
            parts = x[end], attributes[end], edges, vectors[1 - end]
            x[end], feature[end] = self._add_positions(end, *parts)
        for end in x:
            parts = x[end], edges, feature[1 - end]
            source[end], slope[end] = self._add_slopes(end, *parts)
        for end in x:
            x[end] = self._add_messages(end, source[end], edges, source[1 - end])
        parts = x, bias, slope, feature, vectors, source
        return [RatingState(*(part[end] for part in parts)) for end in x]

    def _cast(self, rating: Tensor) -> Tensor:
        """Casts ratings to the precision of the layer."""
        dtype = self.vectors_0.dtype
        if dtype not in (torch.float, torch.double):
            raise ValueError(
                f"'RatingLayer' must be in single or double precision (got {dtype}), "
                f'because sums over edges are inexact in half precision; '
                f"call '.float()' on the model and run it under 'torch.autocast'"
            )
        return rating.to(self.vectors_0)

    def _add_positions(
        self, end, x, attributes, edges, vectors
    ) -> tuple[Tensor, Tensor]:
        """Adds degrees and positions to x, and computes the features of slopes."""
        count = edges.count[end].log1p().unsqueeze(-1) / COUNT_SCALE
        x = x + self.lin_count[end](count)
        z = torch.zeros_like(x[:, :0])
        if self.slope_channels > 1:
            z = self.lin_feature[end](self.dropout(attributes))
        if self.spectral_channels:
            position = self.dropout(F.normalize(edges.sum(end, vectors), dim=-1))
            x = x + self.lin_position[end](position)
            if self.slope_channels > 1:
                z = z + self.lin_feature_position[end](position)
        return x, torch.cat([z, torch.ones_like(x[:, :1])], dim=-1)

    def _add_slopes(self, end, x, edges, feature) -> tuple[Tensor, Tensor]:
        """Adds slopes to x, and returns x and the weighted slopes."""
        if not self.slope_channels:
            return x, x.new_zeros(len(x), 1)
        slope = self.ridge[end](edges, end, feature)
        x = x + self.lin_slope[end](self.dropout(slope))
        return x, slope * self.slope_weight[end]

    def _add_messages(self, end, x, edges, source) -> Tensor:
        """Adds messages, gated by the target node, and applies the hidden layer."""
        if self.messages:
            source = self.dropout(source)
            total = edges.sum(end, self.lin_residual[end](source), residual=True)
            total = total + edges.sum(end, self.lin_mean[end](source))
            size = MESSAGE_SCALE * (edges.count[end] + DAMPING)
            message = total / size.unsqueeze(-1)
            gate = self.lin_gate[end](torch.cat([x, message], dim=-1)).sigmoid()
            x = x + gate * message
        hidden = self.dropout(self.lin_in[end](x).relu())
        return self.dropout(x + self.lin_out[end](hidden))

    def _vectors(self, end: int, n_id: Tensor | None, number: int) -> Tensor:
        vectors = self.vectors[end]
        if n_id is None and number == len(vectors):
            return vectors
        if n_id is None:
            raise ValueError(
                f"'n_id' must hold the rows of {number} nodes among the "
                f'{len(vectors)} nodes with a position (got none)'
            )
        # Nodes added after training have no position.
        return F.pad(vectors, (0, 0, 0, 1))[n_id.clamp(max=len(vectors))]
