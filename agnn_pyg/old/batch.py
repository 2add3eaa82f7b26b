"""What a batch of rated pairs holds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class NodeBatch(NamedTuple):
    r"""The nodes of one side that a batch needs: T targets, then neighbours.

    Attributes:
        n_id: Row numbers in the table of this side, :obj:`[N]`.
        attr: Their attribute tokens, :obj:`[N, F]`.
        attr_weight: The weights of the tokens, :obj:`[N, F]`.
        cold: True where preference and bias must be generated, :obj:`[N]`.
        edge_index: Edges neighbour :math:`\rightarrow` target as positions in
            :obj:`n_id`, :obj:`[2, E]`.
        num_targets: T.
    """

    n_id: Tensor
    attr: Tensor
    attr_weight: Tensor
    cold: Tensor
    edge_index: Tensor
    num_targets: int

    def to(self, device: torch.device | str) -> NodeBatch:
        return NodeBatch(*(t.to(device) for t in self[:-1]), self.num_targets)


class RatingBatch(NamedTuple):
    """B pairs to rate.

    Attributes:
        user: The users of the pairs.
        item: The items of the pairs.
        edge_label_index: The pairs, as positions among the targets of either
            side, :obj:`[2, B]`.
        edge_label: Their ratings, :obj:`[B]`, if known.
    """

    user: NodeBatch
    item: NodeBatch
    edge_label_index: Tensor
    edge_label: Tensor | None

    def to(self, device: torch.device | str) -> RatingBatch:
        label = self.edge_label
        return RatingBatch(
            self.user.to(device),
            self.item.to(device),
            self.edge_label_index.to(device),
            label if label is None else label.to(device),
        )
