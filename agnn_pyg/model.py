"""AGNN: rating prediction for warm and strictly cold nodes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn.module_dict import ModuleDict
from torch_geometric.typing import EdgeType, NodeType

from agnn_pyg.base.checks import nearest
from agnn_pyg.base.config import PositiveInt, check_argument
from agnn_pyg.graph.edges import check_hetero, knn_edge_types
from agnn_pyg.nn.bi_interaction import Features, check_features, num_features
from agnn_pyg.nn.gated_conv import GatedConv
from agnn_pyg.nn.node_encoder import NodeEncoder, NodeState
from agnn_pyg.nn.rating_layer import RatingLayer

# Training diverges if dense features are larger.
LARGE = 100


class AGNN(nn.Module):
    r"""The attribute graph neural network from the `"Attribute Graph Neural
    Networks for Strict Cold Start Recommendation"
    <https://arxiv.org/abs/1912.12398>`_ paper.

    A :class:`~agnn_pyg.nn.NodeEncoder` per node type embeds nodes and aggregates
    neighbors with one :class:`~agnn_pyg.nn.GatedConv` per edge type. The rating of a
    pair of a user and an item is (AGNN, Section 3.4)

    .. math::
        \hat{r}_{ui} = \mathbf{w}^\top [\mathbf{p}_u \, \Vert \, \mathbf{q}_i] +
        \mathbf{p}_u^\top \mathbf{q}_i + b_u + b_i + \mu

    Nodes are cold, not pairs: warm, user-cold, item-cold and both-cold pairs may share
    a batch. With rated edges, which are sparse tensors, :func:`torch.compile` cannot
    capture a full graph.

    With :obj:`rated`, unlike in the paper, messages also pass along rated edges. A
    :class:`~agnn_pyg.nn.RatingLayer` updates the embeddings, and the dot product has a
    weight per channel. The layer's biases :math:`\tilde{b}`, slopes
    :math:`\boldsymbol{\beta}`, times a learned weight for each end, and features
    :math:`\mathbf{z}` add

    .. math::
        \tilde{b}_u + \tilde{b}_i + \boldsymbol{\beta}_u^\top \mathbf{z}_i +
        \boldsymbol{\beta}_i^\top \mathbf{z}_u

    .. code-block:: python

        rated = ('user', 'rates', 'item')
        data = AddAttributeKNN(rated)(data)
        model = AGNN.from_data(data, rated)
        loader = FullGraphLoader(data, rated)
        rating = model(*loader.whole(edge_label_index)[:-1])

    .. note::
        :class:`torch_geometric.explain.Explainer` can mask features and the edges of
        :obj:`edge_types`. It cannot mask :obj:`rated` edges, which use sparse products:
        with rated edges, leave :obj:`edge_mask_type` out.

    Args:
        num_nodes (dict): Number of nodes of each type.
        in_channels (dict): Number of dense features of each node type, or of tokens
            including padding (token 0).
        edge_types (sequence): The edge types to aggregate over. A batch may lack some,
            and other types in a batch are ignored. Ratings do not depend on edges to
            node types other than the :obj:`ends`, so their layers are not trained.
        channels (int, optional): Size of all embeddings. (default: :obj:`32`)
        rated (tuple, optional): Edge type of the ratings that carry messages. Nodes
            have no positions until :meth:`RatingLayer.fit_positions
            <agnn_pyg.nn.RatingLayer.fit_positions>` of :attr:`rating_layer` is called
            with the training pairs; :meth:`from_data` does so. (default: :obj:`None`)
        spectral_channels (int, optional): See :class:`~agnn_pyg.nn.RatingLayer`; with
            :obj:`positives`, at most one for each 16 nodes of the smaller end.
            (default: :obj:`32`)
        slope_channels (int, optional): See :class:`~agnn_pyg.nn.RatingLayer`.
            (default: :obj:`16`)
        messages (bool, optional): See :class:`~agnn_pyg.nn.RatingLayer`.
            (default: :obj:`True`)
        positives (bool, optional): The edges are positives without ratings, and their
            :obj:`rating` is a weight. Predictions are ranking scores: logits of
            :func:`~agnn_pyg.loss.sampled_softmax`. (default: :obj:`False`)
        ends (tuple, optional): The node types of a rated pair. (default: those of
            :obj:`rated`, or else the first and the last of :obj:`num_nodes`)
        mean (float, optional): Initial value of the global bias :math:`\mu`: the mean
            of the training ratings. (default: :obj:`0.0`)
        dropout (float, optional): Dropout of embeddings. (default: :obj:`0.0`)
        conv (callable, optional): Returns a convolution of a given width, such as
            :obj:`lambda c: SAGEConv(c, c)`. (default:
            :class:`~agnn_pyg.nn.GatedConv`)
        share_sum_layer (collection, optional): Node types whose own attributes use the
            linear term of neighbors, see :class:`~agnn_pyg.nn.NodeEncoder`.
            (default: none)
        **kwargs (optional): Additional arguments of
            :class:`~agnn_pyg.nn.NodeEncoder`.

    Raises:
        ValueError: If a size is out of range, a node type has no size, or
            :obj:`rated` edges join nodes of one type.
    """

    def __init__(
        self,
        num_nodes: Mapping[NodeType, int],
        in_channels: Mapping[NodeType, int],
        edge_types: Sequence[EdgeType],
        channels: int = 32,
        *,
        rated: EdgeType | None = None,
        spectral_channels: int = 32,
        slope_channels: int = 16,
        messages: bool = True,
        positives: bool = False,
        ends: tuple[NodeType, NodeType] | None = None,
        mean: float = 0.0,
        dropout: float = 0.0,
        conv: Callable[[int], nn.Module] = GatedConv,
        share_sum_layer: Collection[NodeType] = (),
        **kwargs,
    ) -> None:
        super().__init__()
        known, own = (inspect.signature(c).parameters for c in (NodeEncoder, AGNN))
        for name in kwargs.keys() - known:
            hint = nearest(name, dict.fromkeys([*own, *known]))
            raise TypeError(f"AGNN has no argument '{name}'{hint}")
        self.rated = rated
        self.positives = positives
        types = rated or list(num_nodes)
        self.ends = ends or (types[0], types[-1])
        self._check(num_nodes, in_channels, edge_types, channels)
        self.mean = mean
        self.encoders = ModuleDict()
        for name, count in num_nodes.items():
            self.encoders[name] = NodeEncoder(
                count,
                in_channels[name],
                channels,
                [t for t in edge_types if t[-1] == name],
                conv,
                dropout=dropout,
                share_sum_layer=name in share_sum_layer,
                **kwargs,
            )
        for name in num_nodes.keys() - {*self.ends}:
            # These nodes are only neighbors. Distributed training fails if a parameter
            # never gets a gradient.
            encoder = self.encoders[name]
            for unread in filter(None, (encoder.convs, encoder.lin_skip)):
                unread.requires_grad_(False)
        self.lin_out = nn.Linear(2 * channels, 1)
        self.rating_layer = self.dot_weight = None
        if positives:
            # Too many vectors would reveal the edges that a step leaves out.
            smaller = min(num_nodes[end] for end in self.ends)
            spectral_channels = min(spectral_channels, smaller // 16)
        if rated is not None:
            self.dot_weight = nn.Parameter(torch.empty(channels))
            self.rating_layer = RatingLayer(
                tuple(num_nodes[end] for end in self.ends),
                channels,
                spectral_channels,
                slope_channels,
                messages=messages,
                dropout=dropout,
                positives=positives,
            )
        self.bias = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    @classmethod
    def from_data(
        cls, data: HeteroData, rated: EdgeType, rated_edges: bool = True, **kwargs
    ) -> AGNN:
        """Creates a model with the sizes of a graph.

        Args:
            data (HeteroData): The graph, with features :obj:`x`.
            rated (tuple): The edge type of the ratings; it defines the :obj:`ends`.
            rated_edges (bool, optional): Pass messages along rated edges; otherwise the
                network is that of the paper. (default: :obj:`True`)
            **kwargs: Other arguments of the class. By default, :obj:`edge_types` are
                the :obj:`attribute_knn` edges of both ends, or without
                :obj:`rated_edges` their :obj:`rating_knn` edges, if any. The default of
                :obj:`mean` is the mean of the ratings, if any.

        Raises:
            ValueError: If the rated edges, or features of a node type, are missing or
                have a wrong shape or type.
        """
        check_hetero(data)
        if rated_edges and rated not in data.edge_types:
            raise ValueError(f"'data' must have edges {rated} (got {data.edge_types})")
        ends = rated[0], rated[-1]
        chosen = slice(-1, None) if rated_edges else slice(1)
        knn = {t for end in ends for t in knn_edge_types(data, end)[chosen]}
        edge_types = kwargs.setdefault('edge_types', sorted(knn))
        named = {*ends}.union(*(t[::2] for t in edge_types))
        x = {name: data[name].get('x') for name in data.node_types if name in named}
        if lacking := [name for name, value in x.items() if value is None]:
            raise ValueError(f"'data' must have features 'x' of '{lacking[0]}' nodes")
        channels = {name: num_features(f'{name}.x', value) for name, value in x.items()}
        sizes = {name: len(value) for name, value in x.items()}
        for name, value in x.items():
            if value.is_floating_point() and (value.abs() > LARGE).any():
                warnings.warn(
                    f"'{name}.x' has values beyond {LARGE}, so training may diverge; "
                    f'scale features to about 1',
                    stacklevel=2,
                )
        rating = data[rated].get('rating') if rated in data.edge_types else None
        if rating is not None and len(rating) and not kwargs.get('positives'):
            kwargs.setdefault('mean', float(rating.double().mean()))
        elif rating is not None and (rating <= 0).any():
            place = int((rating <= 0).nonzero()[0])
            raise ValueError(
                f"Weights of positives, the 'rating' of {rated}, must be above 0 (got "
                f'{float(rating[place]):g} at position {place}); drop these edges'
            )
        model = cls(
            sizes, channels, ends=ends, rated=rated if rated_edges else None, **kwargs
        )
        if rated_edges:
            model.rating_layer.fit_positions(data[rated].edge_index)
        return model

    def reset_parameters(self) -> None:
        for encoder in self.encoders.values():
            encoder.reset_parameters()
        nn.init.zeros_(self.lin_out.bias)
        if self.rating_layer is None:
            nn.init.xavier_uniform_(self.lin_out.weight)
        else:
            # Initial predictions are damped biases.
            nn.init.zeros_(self.lin_out.weight)
            nn.init.constant_(self.dot_weight, 0.1)
            self.rating_layer.reset_parameters()
        nn.init.constant_(self.bias, self.mean)

    def encode(
        self,
        x_dict: Mapping[NodeType, Features],
        edge_index_dict: Mapping[EdgeType, Tensor],
        cold_dict: Mapping[NodeType, Tensor] | None = None,
        n_id_dict: Mapping[NodeType, Tensor] | None = None,
        rating_dict: Mapping[EdgeType, Tensor] | None = None,
    ) -> dict[NodeType, NodeState]:
        """Embeds each node once.

        Args:
            x_dict (dict): Features by node type, see
                :class:`~agnn_pyg.nn.AttributeEmbedding`.
            edge_index_dict (dict): Edges neighbor → node by edge type.
            cold_dict (dict, optional): Masks of the nodes whose preference and bias
                are generated from attributes, :obj:`[N]`. (default: none)
            n_id_dict (dict, optional): Global ids of the nodes, :obj:`[N]`. Pass those
                of sampled batches, whose nodes have another order, even if all nodes
                are in a batch. (default: those of the full graph, 0 to N - 1)
            rating_dict (dict, optional): Ratings of the edges of type :attr:`rated`,
                :obj:`[E]`; required with :attr:`rated`. These edges must not contain a
                pair to predict.

        Raises:
            ValueError: If features of a node type are missing or have a wrong shape, or
                a mask or ids are those of another node type.
        """
        encoders = self.encoders.items()
        if lacking := [name for name, _ in encoders if name not in x_dict]:
            raise ValueError(
                f"'x_dict' must hold features of '{lacking[0]}' nodes (got "
                f'{sorted(x_dict)})'
            )
        for name, _ in encoders:
            x = x_dict[name]
            for part in x if isinstance(x, tuple) else (x,):
                check_features(f"x_dict['{name}']", part)
        cold, n_id = cold_dict or {}, n_id_dict or {}
        for argument, given in (('cold_dict', cold), ('n_id_dict', n_id)):
            if unknown := sorted(given.keys() - x_dict.keys()):
                raise ValueError(
                    f"'{argument}' must map node types of 'x_dict', {sorted(x_dict)} "
                    f'(got {unknown})'
                )
        states = {
            name: encoder(x_dict[name], cold.get(name), n_id.get(name))
            for name, encoder in encoders
        }
        states = {
            name: encoder.aggregate(states, name, edge_index_dict)
            for name, encoder in encoders
        }
        if self.rated is None:
            return states
        return self._rate(states, n_id, edge_index_dict, rating_dict)

    def _rate(self, states, n_id_dict, edge_index_dict, rating_dict):
        """Updates the states of both ends by the rated edges."""
        if self.rated not in (rating_dict or ()) or self.rated not in edge_index_dict:
            raise ValueError(
                f"'edge_index_dict' and 'rating_dict' must hold the edges {self.rated} "
                f'(got {sorted(edge_index_dict)} and {sorted(rating_dict or ())})'
            )
        ends = [states[end] for end in self.ends]
        rated = self.rating_layer(
            [state.x for state in ends],
            [state.attributes for state in ends],
            edge_index_dict[self.rated],
            rating_dict[self.rated] - self.mean,
            [n_id_dict.get(end) for end in self.ends],
        )
        pairs = zip(self.ends, ends, rated, strict=True)
        new = {end: state._replace(x=r.x, rating=r) for end, state, r in pairs}
        return states | new

    def terms(
        self, states: Mapping[NodeType, NodeState], edge_label_index: Tensor
    ) -> dict[str, Tensor]:
        """The terms of the ratings of pairs by name; their sum is the rating."""
        (user, item), (u, i) = (states[end] for end in self.ends), edge_label_index

        def rows(part: Tensor, row: Tensor) -> Tensor:
            return part.index_select(0, row)  # faster backward than indexing

        p, q = rows(user.x, u), rows(item.x, i)
        weighted = p if self.dot_weight is None else p * self.dot_weight
        terms = {
            'linear': self.lin_out(torch.cat([p, q], dim=-1)).squeeze(-1),
            'dot product': (weighted * q).sum(dim=-1),
            'user bias': rows(user.bias, u),
            'item bias': rows(item.bias, i),
            'global bias': self.bias,
        }
        if self.rated is not None:
            user, item = user.rating, item.rating
            user_slopes = rows(user.slope, u) * rows(item.feature, i)
            item_slopes = rows(item.slope, i) * rows(user.feature, u)
            terms |= {
                'damped user bias': rows(user.bias, u),
                'damped item bias': rows(item.bias, i),
                'user slopes': user_slopes.sum(dim=-1),
                'item slopes': item_slopes.sum(dim=-1),
            }
        return terms

    def decode(
        self, states: Mapping[NodeType, NodeState], edge_label_index: Tensor
    ) -> Tensor:
        """Predicts ratings of pairs of embedded nodes, by position, :obj:`[2, B]`."""
        return sum(self.terms(states, edge_label_index).values())

    def factors(self, state: NodeState, end: int, row: Tensor) -> Tensor:
        """Vectors of nodes of one end (0 or 1), :obj:`[B, D]`.

        The rating of a pair is the dot product of the vectors of its two nodes, so one
        matrix product scores all pairs.
        """
        x = state.x[row]
        bias = state.bias[row] + x @ self.lin_out.weight[0].chunk(2)[end]
        if end == 0:
            bias = bias + self.lin_out.bias + self.bias
            x = x if self.dot_weight is None else x * self.dot_weight
        parts = [x]
        if self.rated is not None:
            rating = state.rating
            bias = bias + rating.bias[row]
            slopes = [rating.slope[row], rating.feature[row]]
            parts += slopes if end == 0 else slopes[::-1]
        both = [bias.unsqueeze(-1), torch.ones_like(bias).unsqueeze(-1)]
        return torch.cat(parts + (both if end == 0 else both[::-1]), dim=-1)

    def forward(
        self,
        x_dict: Mapping[NodeType, Features],
        edge_index_dict: Mapping[EdgeType, Tensor],
        edge_label_index: Tensor,
        cold_dict: Mapping[NodeType, Tensor] | None = None,
        n_id_dict: Mapping[NodeType, Tensor] | None = None,
        rating_dict: Mapping[EdgeType, Tensor] | None = None,
    ) -> Tensor:
        """Predicts the ratings of pairs, :obj:`[B]`.

        :obj:`edge_label_index`, :obj:`[2, B]`, holds positions of the pairs among the
        nodes of both :attr:`ends`; for the other arguments see :meth:`encode`.
        """
        is_pairs = edge_label_index.dim() == 2 and len(edge_label_index) == 2
        if not is_pairs or edge_label_index.is_floating_point():
            raise ValueError(
                f"'edge_label_index' must be pairs of whole numbers, [2, B] (got "
                f'{edge_label_index.dtype}, {list(edge_label_index.size())}); '
                f'{"convert" if is_pairs else "transpose"} it'
            )
        states = self.encode(x_dict, edge_index_dict, cold_dict, n_id_dict, rating_dict)
        try:
            return self.decode(states, edge_label_index)
        except IndexError as error:  # on a CPU; CUDA does not check
            sizes = {end: len(states[end].x) for end in self.ends}
            last = edge_label_index.amax(dim=1).tolist()
            raise ValueError(
                f"'edge_label_index' must hold positions of nodes, from 0 to below "
                f'{sizes} (got {int(edge_label_index.min())} to {last})'
            ) from error

    def _check(self, num_nodes, in_channels, edge_types, channels) -> None:
        check_argument('channels', channels, PositiveInt)
        for name, count in num_nodes.items():
            check_argument(f"num_nodes['{name}']", count, PositiveInt)
        if self.rated is not None and self.rated[0] == self.rated[-1]:
            raise ValueError(
                f"'rated' edges must join two node types (got {self.rated}); for one "
                f"node type, pass 'ends' instead"
            )
        named = {*self.ends}.union(*(t[::2] for t in edge_types))
        for role, known in (('num_nodes', num_nodes), ('in_channels', in_channels)):
            if lacking := sorted({*named, *num_nodes} - set(known)):
                raise ValueError(
                    f"'{role}' must name every node type of 'ends', 'edge_types' and "
                    f"'num_nodes' (got {sorted(known)}); add '{lacking[0]}'"
                )
