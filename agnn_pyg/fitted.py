"""The fitted state of the recommender, and its extension by new users and items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from agnn_pyg.agnn_config import AGNNConfig
from agnn_pyg.agnn_scorer import AGNNScorer
from agnn_pyg.base.cells import CONSTANT
from agnn_pyg.base.checks import warn
from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.frames import Edges, FitTables, Ratings, read_edges, read_ratings
from agnn_pyg.base.nodes import read_new_nodes, warn_of_bare
from agnn_pyg.base.oddities import bounded_weights
from agnn_pyg.base.rating_scale import RatingScale
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary
from agnn_pyg.kernel.implicit import ImplicitKernelScorer
from agnn_pyg.kernel.link_features import LinkFeatures
from agnn_pyg.kernel.scenarios import KernelConfig
from agnn_pyg.kernel.scorer import KernelScorer
from agnn_pyg.rating_data import SIDES, NodeFeatures, RatingData
from agnn_pyg.scorers import Blend, RankBlend, Scorer


@dataclass(frozen=True, eq=False)
class Fitted:
    """Ids, encoders and scorers of a fit.

    Attributes:
        config: The settings of the fit.
        ids: The ids by side.
        encoders: The encoders of embedded and of compared attributes, by side.
        nodes: The encoded attributes of the nodes of the fit, by side.
        scale: The scale of the ratings.
        rated: Rated pairs as rows, :obj:`[2, R]`.
        rating: The ratings of these pairs on the scale of the models, :obj:`[R]`.
        scorer: The fitted blend.
        link_features: Features of user or item edges, for sides that have edges.
        new_nodes: The encoded attributes of nodes added after the fit, by side.
    """

    config: Any
    ids: dict[str, Vocabulary]
    encoders: dict[str, tuple[AttributeEncoder, AttributeEncoder]]
    nodes: dict[str, NodeFeatures]
    scale: RatingScale
    rated: Tensor
    rating: Tensor
    scorer: Blend
    link_features: Mapping[str, LinkFeatures]
    new_nodes: Mapping[str, NodeFeatures] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, config: Any, tables: FitTables, scale: RatingScale, **run: Any
    ) -> Fitted:
        """Encodes attributes and fits the scorers."""
        scorers = _scorers(config)
        if config.kernel_weight == 0:
            del scorers['kernel']
        serves_all = config.rating is None or len(config.scenarios) == 4
        if config.kernel_weight == 1 and serves_all:
            del scorers['network']
            given = {'validation': tables.validation, **run}
            for name in ('validation', 'stop_after', 'folder'):
                if given.get(name) is not None:
                    warn(
                        f"'{name}' has no effect if 'kernel_weight' is 1, because only "
                        f'the kernel model is fitted; leave it out, or lower the weight'
                    )
        min_count = config.min_count if 'network' in scorers else 1
        link_features = {s: LinkFeatures.fit(w) for s, w in tables.links.items()}
        nodes, encoders = {}, {}
        for side, rows in zip(SIDES, tables.ratings.index, strict=True):
            table = tables.nodes[side]
            if len(table.ids) == 1:
                found = f"'ratings' has a single {side}"
                if table.given:
                    found = f"'{side}s' has a single row"
                raise ValueError(
                    f'{found}, which has no possible neighbors; add another, with or '
                    f'without ratings'
                )
            embed, embedded = table.encode(min_count, config.num_knots, rows)
            compare, compared = table.encode(1, config.num_knots)
            nodes[side] = NodeFeatures(embedded, compared)
            if side in tables.links:
                weight = tables.links[side]
                nodes[side] = link_features[side].attach(nodes[side], weight)
            encoders[side] = embed, compare
        rated, rating = _tensors(tables.ratings, scale)
        validation = tables.validation and _tensors(tables.validation, scale)
        data = RatingData(nodes, _columns(encoders), rated, rating)
        return cls(
            config,
            {side: tables.nodes[side].ids for side in SIDES},
            encoders,
            nodes,
            scale,
            rated,
            rating,
            _blend(config, scorers).fit(data, validation, **run),
            link_features,
        )

    def update(
        self,
        config: Any,
        ratings: pd.DataFrame,
        users: pd.DataFrame | Sequence | None,
        items: pd.DataFrame | Sequence | None,
        edges: Mapping[str, pd.DataFrame | None],
        **run: Any,
    ) -> Fitted:
        """The fit with additional ratings, users and items, and updated scorers."""
        given = read_ratings(ratings, 'ratings', config)
        if self.scale.is_log:
            known = self.scale.unit * (self.rating.double().exp2().numpy() - 1)
            weight = bounded_weights(given.rating, given.pair, known)
            given = given._replace(rating=weight)
        self.scale.check(given)
        edges = read_edges(edges)
        ids = dict(self.ids)
        nodes = {}
        link_features = dict(self.link_features)
        tables = zip(SIDES, (users, items), given[:2], strict=True)
        for side, frame, rated in tables:
            encoders, nodes[side] = self.encoders[side], self.nodes[side]
            named = [rated] if [*encoders[0].columns] == [CONSTANT] else []
            found = self._read_new(config, side, frame, edges.get(side), named)
            if found is not None:
                ids[side], new, weight = found
                nodes[side] = nodes[side].append(self._attach(side, new, weight))
                if side in link_features:
                    link_features[side] = link_features[side].append(weight)
        if not len(given.rating) and ids == self.ids:
            return self
        given = given.pairs(ids)
        if self.scale.is_log:
            known = given.are_in(self.rated.numpy())
            given.pair.remark(
                known & known.all(),
                'has only pairs that the model knows, whose weights are added, in',
                'leave out rows that were in the fit or in an earlier update',
            )
        rated, rating = self._joined(*_tensors(given, self.scale))
        data = RatingData(nodes, _columns(self.encoders), rated, rating)
        return replace(
            self,
            ids=ids,
            nodes=nodes,
            rated=rated,
            rating=rating,
            scorer=self.scorer.update(data, **run),
            link_features=link_features,
        )

    def _joined(self, rated: Tensor, rating: Tensor) -> tuple[Tensor, Tensor]:
        """All distinct pairs; new ratings replace old ones, and weights are summed."""
        rows = torch.cat([self.rated, rated], dim=1)
        rating = torch.cat([self.rating, rating])
        if self.scale.is_log:
            rating = rating.double().exp2() - 1
        pairs = pd.Series(rating.numpy()).groupby([*rows.numpy()], sort=False)
        value = np.log2(1 + pairs.sum()) if self.scale.is_log else pairs.last()
        rated = torch.tensor(value.index.to_frame().to_numpy().T)
        return rated, torch.tensor(value.to_numpy()).float()

    def serve(
        self,
        config: Any,
        users: pd.DataFrame | Sequence | None,
        items: pd.DataFrame | Sequence | None,
        ratings: pd.DataFrame | None = None,
        edges: Mapping[str, pd.DataFrame | None] | None = None,
        name: str = 'ratings',
    ) -> Fitted:
        """The fit extended by the new users and items of two tables.

        Each rating, in the table that error texts call :obj:`name`, has one new and one
        known node. Edges join new nodes with known or with other new nodes.
        """
        given = None if ratings is None else read_ratings(ratings, name, config)
        edges = read_edges(edges or {})
        ids, new = dict(self.ids), {}
        for side, frame in zip(SIDES, (users, items), strict=True):
            named = [given.user] if given is not None and side == 'user' else []
            found = self._read_new(config, side, frame, edges.get(side), named)
            if found is not None:
                ids[side], features, weight = found
                new[side] = self._attach(side, features, weight)
        # The setting may have changed since the fit.
        scorer = self.scorer.with_weight(config.kernel_weight)
        pairs, rated = None, self.rated
        if given is not None:
            pairs = self._new_ratings(given, ids)
            rated = torch.cat([rated, pairs[0]], dim=1)
        return replace(
            self,
            config=config,
            ids=ids,
            rated=rated,
            scorer=scorer.with_new_nodes(new, pairs) if new else scorer,
            new_nodes=new,
        )

    def _new_ratings(
        self, given: Ratings, ids: Mapping[str, Vocabulary]
    ) -> tuple[Tensor, Tensor]:
        """Pairs of new and known nodes, and ratings on the scale of the models."""
        ends = zip(SIDES, given[:2], strict=True)
        user, item = (self.ids[side].rows(column) < 0 for side, column in ends)
        given.pair.refuse(
            user == item,
            'must pair a new user or item with one of the fit, but does not in',
            "drop the row, or call 'update', which takes all ratings",
        )
        self.scale.check(given)
        return _tensors(given.pairs(ids), self.scale)

    def _read_new(
        self,
        config: Any,
        side: str,
        frame: pd.DataFrame | Sequence | None,
        edges: Edges | None,
        named: Sequence[IdColumn],
    ) -> tuple[Vocabulary, NodeFeatures, sp.csr_matrix] | None:
        """All ids, attributes of new nodes, and weights of their edges to all nodes.

        Without a table, new ids are those of ratings (:obj:`named`) and edges.
        """
        if edges is not None and side not in self.link_features:
            raise ValueError(
                f"'{side}_edges' was passed, but the fit had no {side} edges; fit "
                f'again with edges of known {side}s, or leave it out'
            )
        named = [*named, *(edges[:2] if edges else ())]
        is_named = frame is None and len(named) > 0
        is_bare = not isinstance(frame, pd.DataFrame) or len(frame.columns) == 1
        if is_named:
            for column in named:
                self.ids[side].rows(column)  # raises if ids have another type
            ids = pd.concat([pd.Series(column.values) for column in named])
            frame = ids.drop_duplicates().to_frame(getattr(config, side))
        known = self.ids[side]
        parts = self.encoders[side], self.nodes[side].compared
        found = read_new_nodes(frame, side, config, known, *parts, is_named)
        ids = known if found is None else known.append(found[0])
        has_attributes = [*self.encoders[side][0].columns] != [CONSTANT]
        if found is not None and is_bare and has_attributes:
            # Attributes are unknown here, which differs from missing cells.
            found = found[0], [bags.emptied() for bags in found[1]]
        weight = sp.csr_matrix((len(ids) - len(known), len(ids)))
        if found is not None and is_named and has_attributes:
            warn_of_bare(named[0].name, side)
        if found is not None and edges is None and side in self.link_features:
            warn(
                f"There are no '{side}_edges' of new {side}s, but the fit had {side} "
                f'edges; pass the edges of new {side}s, or an empty table'
            )
        if edges is not None:
            table = f'{side}s'
            weight = edges.among(ids, table).adjacency(ids, table)[len(known) :]
        return found and (ids, NodeFeatures(*found[1]), weight)

    def _attach(
        self, side: str, nodes: NodeFeatures, weight: sp.csr_matrix
    ) -> NodeFeatures:
        """Adds edge features to new nodes if the fit had edges of this side."""
        features = self.link_features.get(side)
        return nodes if features is None else features.attach(nodes, weight)

    def values(self, side: str, node: int) -> dict[str, str]:
        """The attribute values of a node by column."""
        nodes = self.nodes[side]
        first = self.nodes[side].num_nodes
        if node >= first:
            nodes = self.new_nodes[side]
            node = node - first
        row = nodes.compared.take(slice(node, node + 1))
        return self.encoders[side][1].texts(row)

    def to_store(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state to save besides that of all recommenders: only tensors."""
        return {}, {
            'links': {side: f.map for side, f in self.link_features.items()},
            'rated': self.rated,
            'rating': self.rating,
            'nodes': {
                side: [dict(vars(bags)) for bags in nodes[:2]] + [*nodes[2:]]
                for side, nodes in self.nodes.items()
            },
            'scorer': self.scorer.state_dict(),
        }

    @classmethod
    def from_store(
        cls, config: Any, plain: Mapping[str, Any], tensors: Mapping[str, Any]
    ) -> Fitted:
        """The inverse of :meth:`to_store`."""
        state = dict(tensors['scorer'])
        scorers = {
            name: type(scorer).from_state(scorer.config, state.pop(name))
            for name, scorer in _scorers(config).items()
            if name in state
        }
        return cls(
            config,
            plain['ids'],
            plain['encoders'],
            {side: _features(*parts) for side, parts in tensors['nodes'].items()},
            plain['scale'],
            tensors['rated'],
            tensors['rating'],
            _blend(config, scorers, **state),
            {side: LinkFeatures(x) for side, x in tensors['links'].items()},
        )


def _scorers(config: Any) -> dict[str, Scorer]:
    """Both unfitted scorers by name."""
    is_implicit = config.rating is None
    kernel = ImplicitKernelScorer if is_implicit else KernelScorer
    return {
        'network': AGNNScorer(config.part(AGNNConfig), positives=is_implicit),
        'kernel': kernel(config.part(KernelConfig)),
    }


def _blend(config: Any, scorers: Mapping[str, Scorer], **options: Any) -> Blend:
    blend = RankBlend if config.rating is None else Blend
    return blend(**scorers, kernel_weight=config.kernel_weight, **options)


def _columns(encoders: Mapping[str, Sequence]) -> dict[str, Sequence[ColumnEncoder]]:
    """The encoders of compared attributes by side."""
    return {side: compared.column_encoders for side, (_, compared) in encoders.items()}


def _features(embedded: dict, compared: dict, *links: Tensor | None) -> NodeFeatures:
    """The features of nodes from a store."""
    return NodeFeatures(TokenBags(**embedded), TokenBags(**compared), *links)


def _tensors(pairs: Ratings, scale: RatingScale) -> tuple[Tensor, Tensor]:
    """Pairs and ratings as tensors, ratings on the scale of the models."""
    rating = torch.from_numpy(scale.to_unit_scale(pairs.rating)).float()
    return torch.from_numpy(pairs.index), rating
