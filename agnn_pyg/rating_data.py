"""Users, items and the ratings between them, as tensors: what scorers are fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from agnn_pyg.base.columns import ColumnEncoder
from agnn_pyg.base.encoder import TokenBags

SIDES = ('user', 'item')


class NodeFeatures(NamedTuple):
    """The encoded attributes of N nodes of one side, by two vocabularies.

    Attributes:
        embedded: By the vocabulary of the nodes with ratings: values of which an
            embedding can be learned.
        compared: By the vocabulary of all nodes: values that proximities and kernels
            compare.
    """

    embedded: TokenBags
    compared: TokenBags

    @property
    def num_nodes(self) -> int:
        return self.compared.num_nodes

    def take(self, rows: Tensor | slice) -> NodeFeatures:
        """The features of some of the nodes."""
        return NodeFeatures(self.embedded.take(rows), self.compared.take(rows))

    def append(self, new: NodeFeatures) -> NodeFeatures:
        """The features of these nodes and of new ones after them."""
        return NodeFeatures(*map(TokenBags.append, self, new))


@dataclass(frozen=True)
class RatingData:
    """Training ratings and the features of all users and items.

    Attributes:
        nodes: Features by side, :obj:`"user"` and :obj:`"item"`.
        columns: By side the fitted attribute columns of :obj:`compared` features.
        edge_index: Rated pairs of user and item rows, :obj:`[2, R]`.
        rating: Their ratings, :obj:`[R]`.
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
        cold = torch.ones(self.nodes[side].num_nodes, dtype=torch.bool)
        cold[self.edge_index[SIDES.index(side)]] = False
        return cold
