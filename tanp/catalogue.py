"""Scores of a whole catalogue: what depends on items alone is computed once.

The formulas are those of :class:`~tanp.nn.SupportAttention` and
:class:`~tanp.nn.ModulatedDecoder`, arranged for users who ask for every item:

* The attention's queries and the items' share of the decoder's first layer are the
  same for all users, and made once.
* Kernels are whole rows of matrices. Channels come first, and items last.
* The decoder reads sums of kernels, and means that are multiples of them: their
  weights are added up, once a user.
* Modulation scales a layer's weights rather than its outputs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tanp.inputs import TaskInputs
from tanp.loader import EpisodeBatch
from tanp.model import TaNP

# Users times items at a time: what they need should fit a cache.
BLOCK_PAIRS = 4096
# Largest power of two an attention weight can have beside its sink.
MOST_BITS = 100.0


class CatalogueScorer:
    """Scores all items for users who have no share in a model's statistics.

    Args:
        model (TaNP): In evaluation mode. What it learns later is not seen.

    Raises:
        ValueError: If the model is in training mode.
    """

    @torch.no_grad()
    def __init__(self, model: TaNP) -> None:
        if model.training:
            raise ValueError(
                "'model' is in training mode, in which scores are random; call "
                "'model.eval()' first"
            )
        self.model = model
        x, self.catalogue = model.inputs.catalogue()
        self.width = x.size(-1)
        # size = [C, I]
        first = model.decoder.lins[0]
        weight = first.weight[:, : self.width]
        self.hidden = torch.addmm(first.bias[:, None], weight, x.t())
        self.offset = model.decoder.lin_out.bias
        # Whether scores exceed the labels to expect.
        self.based = self.catalogue is not None and model.likelihood == 'gaussian'
        if self.catalogue is not None:
            popularity = model.lin_counts(self.catalogue.counts)
            self.offset = self.offset + popularity.squeeze(-1)
        if self.based:
            self.offset = self.offset + self.catalogue.mean
        if model.attention is not None:
            query = model.attention.lin_query(x).t()
            query = query.reshape(model.attention.heads, -1, len(x))
            # A row of ones for what a support item adds to all queries.
            self.query = torch.cat([query, torch.ones_like(query[:, :1])], dim=1)

    @torch.no_grad()
    def __call__(self, batch: EpisodeBatch) -> Tensor:
        """Scores of all items for each task of a batch, :obj:`[B, I]`.

        Args:
            batch (EpisodeBatch): Its query is not read.
        """
        batch = batch.cleared()
        # One item, any, stands for the query.
        one = torch.zeros_like(batch.user[:, None])
        inputs = self.model.inputs(
            batch._replace(
                query_item=one,
                query_label=one.to(batch.support_label.dtype),
                query_mask=torch.ones_like(one, dtype=torch.bool),
            )
        )
        first, *rest = self._layers(inputs, batch.user)
        reading = None
        if self.model.attention is not None:
            reading = self._reading(inputs, batch.user, first.scale)
        score = self._score(batch.support_item, first, rest, reading)
        if self.based:
            # By how much the support exceeds what others say of its items.
            score += inputs.base[inputs.num_support :, None] - self.catalogue.mean[0]
        return score

    def _layers(self, inputs: TaskInputs, user: Tensor) -> list[_Layer]:
        """The decoder's hidden layers as each task has them."""
        decoder = self.model.decoder
        task, context, *_ = self.model.encode(inputs)
        made = []
        for lin, scale, shift in zip(
            decoder.lins, *decoder.modulate(task), strict=True
        ):
            if not made:
                # The bias is in `hidden`.
                shared = self._of_user(lin.weight, user)
                if context is not None:
                    shared = shared + context @ lin.weight[:, decoder.in_channels :].t()
                weight = None
            else:
                shared, weight = lin.bias, scale[..., None] * lin.weight
            scale, shift = scale[..., None], (shift + scale * shared)[..., None]
            made.append(_Layer(scale, shift, weight))
        return made

    def _reading(self, inputs: TaskInputs, user: Tensor, scale: Tensor) -> _Reading:
        """Of each support item all that does not depend on the query."""
        attention, decoder = self.model.attention, self.model.decoder
        size, support = inputs.num_support, inputs.support
        x, surprise = support.pad(inputs.x[:size]), support.pad(inputs.surprise[:size])
        mask = support.pad(torch.ones_like(inputs.surprise[:size])) > 0
        key, value, weight, kernel_weight = attention.encode(x, surprise, mask)
        key = key / attention.head_channels**0.5
        # What a support item adds to all queries, the user's share of them included.
        shared = self._of_user(attention.lin_query.weight, user)
        shift = key @ shared.view(len(user), attention.heads, -1, 1)
        shift = shift + (attention.lin_kernel.bias - attention.sink)[:, None, None]
        shift = shift.masked_fill(~mask[:, None, :, None], -torch.inf)
        key = torch.cat([key, shift], dim=-1)
        # A value of ones sums up the attention.
        value = torch.cat([value, torch.ones_like(value[..., :1])], dim=-1)

        # size = [C, heads * D], [C, 2 E], [C, 2 E]
        num_sums = 2 * attention.num_kernels
        widths = attention.out_channels - 2 * num_sums, num_sums, num_sums
        read, total, mean = (
            decoder.lins[0]
            .weight[:, self.width : decoder.in_channels]
            .split(widths, dim=-1)
        )
        count = attention.count(weight)[:, None]
        lin = torch.cat([read.expand(len(user), -1, -1), total + mean / count], dim=-1)
        bits = math.log2(math.e)
        return _Reading(
            bits * key, value.mT, weight.mT, bits * kernel_weight, scale * lin
        )

    def _of_user(self, weight: Tensor, user: Tensor) -> Tensor:
        """What users add to a linear map of what is known, :obj:`[B, C]`."""
        inputs = self.model.inputs
        if inputs.user is None:
            return weight.new_zeros(len(user), len(weight))
        return inputs.user(user) @ weight[:, inputs.user_columns].t()

    def _score(
        self,
        support: Tensor,
        first: _Layer,
        rest: list[_Layer],
        reading: _Reading | None,
    ) -> Tensor:
        """Scores in blocks of users, :obj:`[B, I]`."""
        num_items = self.hidden.size(-1)
        score = self.hidden.new_empty(len(first.scale), num_items)
        last = self.model.decoder.lin_out.weight[0]
        step = max(1, BLOCK_PAIRS // num_items)
        for start in range(0, len(score), step):
            users = slice(start, start + step)
            scale, shift, _ = first.of(users)
            # size = [b, C, I]
            hidden = scale * self.hidden
            if reading is not None:
                block = reading.of(users)
                hidden.baddbmm_(block.lin, self._attend(support[users], block))
            hidden.add_(shift).relu_()
            for layer in rest:
                _, shift, weight = layer.of(users)
                hidden = torch.baddbmm(shift, weight, hidden).relu_()
            torch.matmul(last, hidden, out=score[users])
        return score.add_(self.offset)

    def _attend(self, support: Tensor, reading: _Reading) -> Tensor:
        """What the support says of all items, :obj:`[b, heads * D + 2 E, I]`."""
        key, value, weight, kernel_weight, _ = reading
        num_tasks, heads, size, _ = key.size()
        kernel = self.model.inputs.statistics.catalogue_kernel(
            support, self.catalogue.items
        )
        # size = [heads, b S, I]
        attention = self.query.new_empty(heads, support.numel(), kernel.size(-1))
        torch.bmm(
            kernel_weight.flatten(0, 1),
            kernel.flatten(0, 1),
            out=attention.transpose(0, 1),
        )
        attention.baddbmm_(key.transpose(0, 1).flatten(1, 2), self.query)
        # Relative to the sink, so that it counts as 1 below.
        attention.clamp_(max=MOST_BITS).exp2_()
        # size = [heads, b, D + 1, I]
        attention = attention.view(heads * num_tasks, size, -1)
        read = value.transpose(0, 1).flatten(0, 1) @ attention
        read = read.view(heads, num_tasks, *read.size()[1:]).transpose(0, 1)
        read, total = read.split([read.size(2) - 1, 1], dim=2)
        width = heads * read.size(2)
        made = read.new_empty(num_tasks, reading.lin.size(-1), read.size(-1))
        torch.div(read, total + 1, out=made[:, :width].view_as(read))
        sums = made[:, width:].view(num_tasks, 2, -1)
        torch.bmm(weight, kernel.flatten(2), out=sums)
        return made


class PairScorer:
    """Scores all items for any users, as a query of that many items.

    Args:
        model (TaNP): In evaluation mode.
    """

    def __init__(self, model: TaNP) -> None:
        self.model = model

    @torch.no_grad()
    def __call__(self, batch: EpisodeBatch) -> Tensor:
        """See :class:`CatalogueScorer`."""
        item = torch.arange(self.model.inputs.num_items, device=batch.user.device)
        item = item.expand(len(batch.user), -1)
        label = torch.zeros_like(item, dtype=batch.support_label.dtype)
        mask = torch.ones_like(item, dtype=torch.bool)
        batch = batch._replace(query_item=item, query_label=label, query_mask=mask)
        return self.model(batch).score.view_as(label)


class _Layer(NamedTuple):
    """A modulated layer of B tasks: scale and shift :obj:`[B, C, 1]`, weight."""

    scale: Tensor
    shift: Tensor
    weight: Tensor | None

    def of(self, users: slice) -> _Layer:
        return _Layer(*(v if v is None else v[users] for v in self))


class _Reading(NamedTuple):
    """What attention reads of B supports of S items.

    Attributes:
        key: In bits, with a last channel that is added, :obj:`[B, heads, S, D + 1]`.
        value: With a last channel of ones, :obj:`[B, heads, D + 1, S]`.
        weight: Surprise for good and for bad, :obj:`[B, 2, S]`.
        kernel_weight: What logits take of kernels, in bits, :obj:`[B, S, heads, E]`.
        lin: What the decoder makes of it all, :obj:`[B, C, heads * D + 2 E]`.
    """

    key: Tensor
    value: Tensor
    weight: Tensor
    kernel_weight: Tensor
    lin: Tensor

    def of(self, users: slice) -> _Reading:
        return _Reading(*(value[users] for value in self))
