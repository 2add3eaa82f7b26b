"""What a model knows of the interactions of a batch, before it compares any."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agnn_pyg.base.encoder import TokenBags
from tanp.evidence import Catalogue
from tanp.loader import EpisodeBatch
from tanp.nn.embedding import NodeEmbedding
from tanp.nn.rows import Rows, rows_of
from tanp.statistics import InteractionStatistics

if TYPE_CHECKING:
    from tanp.model import TaNP


class TaskInputs(NamedTuple):
    r"""R interactions of B tasks: those of the supports, then those of the queries.

    Attributes:
        x: What is known of item and user, :math:`\mathbf{x}`, :obj:`[R, F]`.
        label: Labels, :obj:`[R]`.
        surprise: Labels as encoders read them, :obj:`[R]`: with statistics, by how
            much they exceed :obj:`base`; else the labels themselves.
        base: What other users' labels make expect, :obj:`[R]`, with statistics.
        counts: Popularity, :obj:`[R, num_counts]`, with statistics.
        kernel: Likeness of query to support items, padded, with statistics.
        support_kernel: Likeness of support items among themselves, likewise.
        support: The rows of the supports.
        query: The rows of the queries.
    """

    x: Tensor
    label: Tensor
    surprise: Tensor
    base: Tensor | None
    counts: Tensor | None
    kernel: Tensor | None
    support_kernel: Tensor | None
    support: Rows
    query: Rows

    @property
    def num_support(self) -> int:
        """Rows of all supports together."""
        return self.support.task.numel()

    @property
    def rows(self) -> Rows:
        """Support rows, then query rows, each in slots of their own."""
        support, query = self.support, self.query
        task = torch.cat([support.task, query.task])
        slot = torch.cat([support.slot, query.slot + support.num_slots])
        num_slots = support.num_slots + query.num_slots
        place = task * num_slots + slot
        return Rows(task, slot, place, support.num_tasks, num_slots)


class InputEncoder(nn.Module):
    """Embeds items and users by id, attributes and what other users say of them.

    Arguments are those of :class:`~tanp.model.TaNP`.
    """

    def __init__(
        self,
        num_items: int,
        num_users: int,
        item_attributes: TokenBags | None,
        user_attributes: TokenBags | None,
        item_ids: bool,
        user_ids: bool,
        id_dropout: float,
        embedding_channels: Sequence[int],
        statistics: InteractionStatistics | None,
        likelihood: str,
    ) -> None:
        super().__init__()
        if statistics is None and not item_ids and item_attributes is None:
            raise ValueError(
                "'item_ids' is False, and there are neither 'item_attributes' nor "
                "'statistics'; something must tell items apart"
            )
        self.num_items, self.likelihood = num_items, likelihood
        self.statistics = statistics
        self.item = self.user = None
        self.out_channels = 0
        if item_ids or item_attributes is not None:
            self.item = NodeEmbedding(
                num_items, *embedding_channels, item_ids, item_attributes, id_dropout
            )
            self.out_channels += embedding_channels[-1]
        if user_ids or user_attributes is not None:
            self.user = NodeEmbedding(
                num_users, *embedding_channels, user_ids, user_attributes, id_dropout
            )
            self.out_channels += embedding_channels[-1]
        if statistics is not None:
            self.out_channels += statistics.rank + statistics.num_counts

    def reset_parameters(self) -> None:
        for embedding in (self.item, self.user):
            if embedding is not None:
                embedding.reset_parameters()

    def know(self, user: Tensor, item: Tensor) -> None:
        """Declares the users and items that training reads, and no others."""
        for embedding, row in ((self.item, item), (self.user, user)):
            if embedding is not None:
                embedding.know(row)

    @property
    def user_columns(self) -> slice:
        """Where in :attr:`TaskInputs.x` the user is."""
        start = 0 if self.item is None else self.item.lin.out_features
        width = 0 if self.user is None else self.user.lin.out_features
        return slice(start, start + width)

    def catalogue(self) -> tuple[Tensor, Catalogue | None]:
        """All items as a user without a share in the statistics sees them.

        Returns:
            What is known of the items, with zeros in place of the user,
            :obj:`[I, F]`, and what statistics say of them.
        """
        parts, told = [], None
        if self.item is not None:
            every = torch.arange(self.num_items, device=self.item.bias.device)
            parts.append(self.item(every))
        if self.user is not None:
            width = self.user.lin.out_features
            parts.append(self.user.bias.new_zeros(self.num_items, width))
        if self.statistics is not None:
            told = self.statistics.catalogue()
            parts += [told.vector, told.counts]
        return torch.cat(parts, dim=-1), told

    def forward(self, batch: EpisodeBatch) -> TaskInputs:
        # Nothing else of the batch is read: padding cannot leak.
        support, query = rows_of(batch.support_mask), rows_of(batch.query_mask)

        def take(one: Tensor, other: Tensor) -> Tensor:
            return torch.cat([support.take(one), query.take(other)])

        label = take(batch.support_label, batch.query_label)
        parts = []
        if self.item is not None:
            parts.append(self.item(take(batch.support_item, batch.query_item)))
        if self.user is not None:
            task = torch.cat([support.task, query.task])
            parts.append(self.user(batch.user).index_select(0, task))
        if self.statistics is None:
            x = torch.cat(parts, dim=-1)
            label = label.to(x.dtype)
            return TaskInputs(x, label, label, *4 * [None], support, query)

        rated = self.likelihood == 'gaussian'
        vector, counts, base, *kernels = self.statistics(batch, centred=rated)
        # Labels 1 and 0 surprise by 1 and -1.
        surprise = (label - base) * (1 if rated else 2)
        x = torch.cat([*parts, vector, counts], dim=-1)
        return TaskInputs(x, label, surprise, base, counts, *kernels, support, query)


def with_users(model: TaNP, attributes: TokenBags) -> TaNP:
    """The same model, with further users at the end of its table.

    Parameters are shared, and so is all else but the table of users' attributes.

    Args:
        model (TaNP): With users' attributes, and without users' ids.
        attributes (TokenBags): Of the new users, by the encoder of the others.
    """
    model = _shallow(model)
    model.inputs = _shallow(model.inputs)
    model.inputs.user = user = _shallow(model.inputs.user)
    for name, new in (('attr', attributes.index), ('attr_weight', attributes.weight)):
        old = getattr(user, name)
        width = max(old.size(1), new.size(1))
        parts = (F.pad(part, (0, width - part.size(1))) for part in (old, new.to(old)))
        setattr(user, name, torch.cat([*parts]))
    user.num_nodes += attributes.num_nodes
    return model


def _shallow(module: nn.Module) -> nn.Module:
    """A copy that holds the same parts, but may come to hold others."""
    made = copy.copy(module)
    for kind in ('_parameters', '_buffers', '_modules'):
        setattr(made, kind, dict(getattr(module, kind)))
    return made
