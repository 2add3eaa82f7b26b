"""The training data of scorers: users, items and ratings as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import index_to_mask

from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.encoder import TokenBags
from agnn_pyg.base.frames import SIDES

# Number of users per block of scores; equal for all scorers.
BLOCK_USERS = 64


class NodeFeatures(NamedTuple):
    """The encoded attributes of N nodes of one side, with two vocabularies.

    Attributes:
        embedded: Encoded with the vocabulary of nodes with ratings: an embedding of
            each value can be learned.
        compared: Encoded with the vocabulary of all nodes, for proximities and kernels.
        links: Edges to these nodes that were passed by the user, :obj:`[2, E]`. Sources
            are numbered in the whole graph, in which new nodes come last.
        positions: Features of these edges, :obj:`[N, F]`; only with :obj:`links`, see
            :class:`~agnn_pyg.kernel.link_features.LinkFeatures`.
    """

    embedded: TokenBags
    compared: TokenBags
    links: Tensor | None = None
    positions: Tensor | None = None

    @property
    def num_nodes(self) -> int:
        return self.compared.num_nodes

    @property
    def num_tokens(self) -> int:
        """Number of tokens of embedded values and of positions."""
        width = 0 if self.positions is None else self.positions.size(1)
        return self.embedded.num_tokens + width

    def tokens(self) -> tuple[Tensor, Tensor]:
        """Tokens and weights of embedded values and of (signed) positions."""
        index, weight = self.embedded.index, self.embedded.weight
        if self.positions is None:
            return index, weight
        own = torch.arange(self.embedded.num_tokens, self.num_tokens)
        index = torch.cat([index, own.expand(self.num_nodes, -1)], dim=1)
        return index, torch.cat([weight, self.positions], dim=1)

    def take(self, rows: Tensor | slice) -> NodeFeatures:
        """The attributes of some nodes, without edges."""
        return NodeFeatures(self.embedded.take(rows), self.compared.take(rows))

    def append(self, new: NodeFeatures) -> NodeFeatures:
        """The features of these nodes followed by new nodes."""
        made = NodeFeatures(*map(TokenBags.append, self[:2], new[:2]))
        if self.links is None:
            return made
        links = torch.stack([new.links[0], new.links[1] + self.num_nodes])
        links = torch.cat([self.links, links], dim=1)
        positions = torch.cat([self.positions, new.positions])
        return made._replace(links=links, positions=positions)


@dataclass(frozen=True, eq=False)
class RatingData:
    """Training ratings and the features of all users and items.

    Attributes:
        nodes: Features by side, :obj:`"user"` and :obj:`"item"`.
        columns: The fitted encoders of :obj:`compared` attributes by side.
        edge_index: Rated pairs of user and item rows, :obj:`[2, R]`.
        rating: Ratings of the pairs, :obj:`[R]`.
    """

    nodes: Mapping[str, NodeFeatures]
    columns: Mapping[str, Sequence[ColumnEncoder]]
    edge_index: Tensor
    rating: Tensor

    @property
    def num_nodes(self) -> dict[str, int]:
        """Number of users and of items."""
        return {side: self.nodes[side].num_nodes for side in SIDES}

    def cold(self, side: str) -> Tensor:
        """A mask of the nodes without ratings, :obj:`[N]`."""
        index = self.edge_index[SIDES.index(side)]
        return ~index_to_mask(index, self.nodes[side].num_nodes)
