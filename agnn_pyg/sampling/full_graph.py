"""Full-graph training steps, which predict some ratings from the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.typing import EdgeType, NodeType
from torch_geometric.utils import index_to_mask

from agnn_pyg.base.config import (
    Fraction,
    NonNegativeInt,
    PositiveInt,
    Seed,
    check_argument,
)
from agnn_pyg.base.randomness import EpochLoader, mix, salted
from agnn_pyg.graph.edges import (
    check_edges,
    check_hetero,
    knn_edge_types,
    rated_pairs,
    types_between,
)
from agnn_pyg.sampling.batch import RatingBatch, features
from agnn_pyg.sampling.cold_dropout import check_rates
from agnn_pyg.sampling.draw import CandidateSets, edges_to


class FullGraphLoader(EpochLoader):
    r"""Iterates over training steps, each on the whole graph.

    Each step predicts *targets*, whose edges carry no messages. Targets are a random
    fraction of the rated pairs, and all pairs of the nodes that the step treats as
    cold. These nodes lose their rated edges and their embedding, like new nodes. With
    :obj:`id_dropout`, other nodes lose only their embedding, as regularization.

    Each step draws :obj:`num_neighbors` candidates per node. Candidates of warm nodes
    are their :obj:`rating_knn` edges if the graph has any, and those of cold nodes are
    :obj:`attribute_knn` edges; both are returned as the first type. If the graph has
    both types, :obj:`attribute_knn` edges are also drawn for all nodes. Other edges are
    kept, except edge types between both ends other than :obj:`rated`, such as reverse
    ratings: they are dropped to prevent target leakage.

    A second iteration gives the same steps; call :meth:`set_epoch` for new ones. After
    training, :meth:`whole` returns a batch of any pairs in which all ratings carry
    messages. Batches are on the CPU, regardless of the device of the graph.

    Args:
        data (HeteroData): The graph, with features :obj:`x`, edges of
            :class:`~agnn_pyg.AddAttributeKNN` (optional) and ratings.
        rated (tuple): Edge type of the ratings.
        steps (int, optional): Number of steps per epoch. (default: :obj:`10`)
        target_fraction (float, optional): Random fraction of the pairs that a step
            predicts. (default: :obj:`0.2`)
        cold_dropout (float or dict, optional): Fraction of the nodes that a step treats
            as cold, or a dict by node type. (default: :obj:`0.05`)
        id_dropout (float, optional): Fraction of the nodes that lose their embedding.
            (default: :obj:`0.8`)
        batch_size (int, optional): Number of pairs per step of an epoch that predicts
            each pair once, instead of :obj:`steps` and :obj:`target_fraction`.
            (default: :obj:`None`)
        num_neighbors (int, optional): Neighbors per node. (default: :obj:`10`)
        self_neighbor (bool, optional): Replace the last neighbor of each node by the
            node itself, as the published code does. (default: :obj:`False`)
        seed (int, optional): Seed of all draws. (default: :obj:`0`)

    Attributes:
        candidates: Candidate sets by node type and edge type.
        left_out: Edge types between both ends other than the rated one.

    Raises:
        ValueError: If there are no ratings, an edge joins a node that does not exist,
            or an argument is outside its range.
    """

    def __init__(
        self,
        data: HeteroData,
        rated: EdgeType,
        *,
        steps: int = 10,
        target_fraction: float = 0.2,
        cold_dropout: float | Mapping[NodeType, float] = 0.05,
        id_dropout: float = 0.8,
        batch_size: int | None = None,
        num_neighbors: int = 10,
        self_neighbor: bool = False,
        seed: int = 0,
    ) -> None:
        check_hetero(data)
        self.rated = rated
        self.ends = (rated[0], rated[-1])
        data = copy(data).cpu()
        self.edge_index, self.rating = rated_pairs(data, rated)
        self.left_out = types_between(data, rated) - {rated}
        used = [t for t in data.edge_types if t not in (rated, *self.left_out)]
        for edge_type in used:
            num_nodes = {end: data[end].num_nodes for end in edge_type[::2]}
            check_edges(edge_type, data[edge_type], num_nodes)
        self.steps = check_argument('steps', steps, PositiveInt)
        self.batch_size = check_argument('batch_size', batch_size, PositiveInt | None)
        self.target_fraction = check_argument(
            'target_fraction', target_fraction, Fraction
        )
        self.id_dropout = check_argument('id_dropout', id_dropout, Fraction)
        self.cold_dropout = check_rates('cold_dropout', cold_dropout, self.ends)
        self.seed = check_argument('seed', seed, Seed)
        self.num_neighbors = check_argument(
            'num_neighbors', num_neighbors, NonNegativeInt
        )
        self.self_neighbor = self_neighbor
        self.x_dict = features(data)
        self.cold = {
            end: ~index_to_mask(row, data[end].num_nodes)
            for end, row in zip(self.ends, self.edge_index, strict=True)
        }
        self.candidates = {name: {} for name in self.x_dict}
        for name, candidates in self.candidates.items():
            for edge_type in knn_edge_types(data, name):
                store = data[edge_type]
                candidates[edge_type] = CandidateSets(
                    store.edge_index, store.get('edge_weight'), data[name].num_nodes
                )
        drawn = {t for name in data.node_types for t in knn_edge_types(data, name)}
        # Edges given by the user are few, so all of them are kept.
        self.kept = {t: data[t].edge_index for t in used if t not in drawn}

    def __len__(self) -> int:
        if self.batch_size is None:
            return self.steps
        return -(-len(self.rating) // self.batch_size) // self.world_size

    def __iter__(self) -> Iterator[RatingBatch]:
        key = mix(self.seed + mix(self.epoch))
        for step in range(self.rank, len(self) * self.world_size, self.world_size):
            generator = torch.Generator().manual_seed(mix(key + step))
            yield self._batch(generator, key, step)

    def whole(self, pairs: Tensor, seed: int = 0) -> RatingBatch:
        """Returns a batch that predicts pairs, :obj:`[2, B]`, from all ratings.

        The :obj:`seed` determines the draw of neighbors.
        """
        edges = self._draw(seed, 0, self.cold)
        edges[self.rated] = self.edge_index
        rating = {self.rated: self.rating}
        return RatingBatch(self.x_dict, edges, pairs, self.cold, rating_dict=rating)

    def _batch(self, generator: torch.Generator, key: int, step: int) -> RatingBatch:
        treated, cold = {}, {}
        for end in self.ends:
            number = len(self.cold[end])
            draw = torch.rand(number, generator=generator)
            treated[end] = draw < self.cold_dropout.get(end, 0.0)
            dropped = torch.rand(number, generator=generator) < self.id_dropout
            cold[end] = self.cold[end] | treated[end] | dropped
        is_target = is_lost = self._chosen(generator, key, step)
        for end, row in zip(self.ends, self.edge_index, strict=True):
            is_lost = is_lost | treated[end][row]
        target = is_lost if self.batch_size is None else is_target
        target = target.nonzero().squeeze(-1)
        message = is_lost.logical_not().nonzero().squeeze(-1)
        edges = self._draw(salted(self.seed, 'step'), mix(key + step), cold)
        edges[self.rated] = self.edge_index.index_select(1, message)
        return RatingBatch(
            self.x_dict,
            edges,
            self.edge_index.index_select(1, target),
            cold,
            rating_dict={self.rated: self.rating.index_select(0, message)},
            edge_label=self.rating.index_select(0, target),
        )

    def _chosen(self, generator: torch.Generator, key: int, step: int) -> Tensor:
        """A mask of the pairs that a step predicts."""
        if self.batch_size is None:
            draw = torch.rand(len(self.rating), generator=generator)
            # At least one, because a mean over no pairs is NaN.
            return (draw < self.target_fraction) | (draw == draw.min())
        order = torch.Generator().manual_seed(key)
        order = torch.randperm(len(self.rating), generator=order)
        chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
        return index_to_mask(chosen, len(order))

    def _draw(
        self, seed: int, epoch: int, cold: Mapping[NodeType, Tensor]
    ) -> dict[EdgeType, Tensor]:
        """Draws edges neighbor → node by edge type."""
        edges = dict(self.kept)
        if not self.num_neighbors:
            return edges
        for name, by_type in self.candidates.items():
            drawn = [
                sets.draw_for_all(self.num_neighbors, salted(seed, *edge_type), epoch)
                for edge_type, sets in by_type.items()
            ]
            if len(drawn) > 1 and name in cold:
                drawn[0] = torch.where(cold[name][:, None], drawn[1], drawn[0])
            for edge_type, neighbor in zip(by_type, drawn, strict=True):
                edges[edge_type] = edges_to(neighbor, self.self_neighbor)
        return edges
