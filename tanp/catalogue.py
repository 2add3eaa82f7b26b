"""Scores of a whole catalogue: what depends on items alone is computed once.

The formulas are those of :class:`~tanp.nn.SupportAttention` and
:class:`~tanp.nn.ModulatedDecoder`, arranged for users who ask for every item:

* The attention's queries, the items' share of the decoder's first layer and the
  kernels of all pairs of items are the same for all users, and made once.
* Kernels are zero for most pairs, which are left out. The one that is not is a
  product of vectors, and becomes part of keys and queries.
* Channels come first, and items last; a row of ones adds what is shared by all.
* The decoder reads sums of kernels, and means that are multiples of them: their
  weights are added up, once a user.
* Modulation scales a layer's weights rather than its outputs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tanp.episodes import offsets, ragged
from tanp.inputs import TaskInputs
from tanp.loader import EpisodeBatch
from tanp.model import TaNP

# Users times items at a time: what they need should fit a cache.
BLOCK_PAIRS = 4096
# Largest power of two an attention weight can have beside its sink.
MOST_BITS = 100.0
BITS = math.log2(math.e)


class CatalogueScorer:
    """Scores all items for users who have no share in a model's statistics.

    Args:
        model (TaNP): In evaluation mode. What it learns later is not seen.

    Raises:
        ValueError: If the model is in training mode, or not one that :meth:`suits`.
    """

    @torch.no_grad()
    def __init__(self, model: TaNP) -> None:
        if model.training:
            raise ValueError(
                "'model' is in training mode, in which scores are random; call "
                "'model.eval()' first"
            )
        if not self.suits(model):
            raise ValueError(
                "'model' regresses supports without attention to them, which is read "
                "pair by pair; use 'PairScorer'"
            )
        self.model = model
        x, self.catalogue = model.inputs.catalogue()
        self.width = x.size(-1)
        # Users at a time.
        self.step = max(1, BLOCK_PAIRS // len(x))
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
            # size = [heads, D + rank + 1, I]
            query = model.attention.lin_query(x).t()
            query = query.reshape(model.attention.heads, -1, len(x))
            vector = self.catalogue.vector.t().expand(len(query), -1, -1)
            ones = torch.ones_like(query[:, :1])
            self.query = torch.cat([query, vector, ones], dim=1)
            # What logits take of kernels, :obj:`[heads, 2 (E - 1)]`.
            weight = model.attention.lin_kernel.weight
            weight = weight.view(len(query), 2, model.attention.num_kernels)
            self.kernel_weight = BITS * weight[..., :-1].flatten(1)

    @staticmethod
    def suits(model: TaNP) -> bool:
        """Whether a model's catalogue can be scored so: not by regression alone."""
        return model.regression is None or model.attention is not None

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
            reading = self._reading(batch, inputs, first)
        score = self._score(first, rest, reading)
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

    def _reading(
        self, batch: EpisodeBatch, inputs: TaskInputs, first: _Layer
    ) -> _Reading:
        """Of each support item all that does not depend on the query."""
        attention, decoder = self.model.attention, self.model.decoder
        size, support, mask = inputs.num_support, inputs.support, batch.support_mask
        x, surprise = support.pad(inputs.x[:size]), support.pad(inputs.surprise[:size])
        key, value, weight, kernel_weight = attention.encode(x, surprise, mask)
        key = key / attention.head_channels**0.5
        # What a support item adds to all queries, the user's share of them included.
        shared = self._of_user(attention.lin_query.weight, batch.user)
        shift = key @ shared.view(len(key), attention.heads, -1, 1)
        shift = shift + (attention.lin_kernel.bias - attention.sink)[:, None, None]
        shift = shift.masked_fill(~mask[:, None, :, None], -torch.inf)
        vector = self.catalogue.vector[batch.support_item]
        vector = vector / vector.size(-1)
        # size = [B, heads, S, rank]
        product = kernel_weight[..., -1].mT[..., None] * vector[:, None]
        key = torch.cat([key, product, shift], dim=-1)
        # A value of ones sums up the attention.
        value = torch.cat([value, torch.ones_like(value[..., :1])], dim=-1)

        # size = [C, heads * D], [C, 2 E], [C, 2 E], [C, R]
        end = attention.out_channels
        num_sums = 2 * attention.num_kernels
        read, total, mean, regressed = (
            decoder.lins[0]
            .weight[:, self.width : decoder.in_channels]
            .tensor_split((end - 2 * num_sums, end - num_sums, end), dim=-1)
        )
        total = total + mean / attention.count(weight)[:, None]
        total = total.unflatten(-1, (2, -1))
        sent, constant = self._sent(inputs, surprise, mask)
        # Vectors make the last kernel, and pairs that were met the others.
        regressed = regressed.expand(len(key), -1, -1)
        parts = [read.expand(len(key), -1, -1), total[..., :-1].flatten(2), regressed]
        parts += [total[..., -1], regressed]
        shift = first.shift + first.scale * (regressed @ constant[..., None])
        lin = torch.cat([first.scale * torch.cat(parts, dim=-1), shift], dim=-1)
        pooled = torch.cat([weight, sent[:, :, -1]], dim=-1).mT @ vector
        pairs = self._pairs(batch, weight, sent[:, :, :-1])
        return _Reading(BITS * key, value.mT, pooled, lin, pairs)

    def _sent(
        self, inputs: TaskInputs, surprise: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What support items send by R regressions, if there are any."""
        regression = self.model.regression
        if regression is not None:
            return regression.encode(inputs.support_kernel, surprise, mask)
        size = *surprise.size(), len(self.model.inputs.statistics.positive), 0
        return surprise.new_zeros(size), surprise.new_zeros(len(surprise), 0)

    def _of_user(self, weight: Tensor, user: Tensor) -> Tensor:
        """What users add to a linear map of what is known, :obj:`[B, C]`."""
        inputs = self.model.inputs
        if inputs.user is None:
            return weight.new_zeros(len(user), len(weight))
        return inputs.user(user) @ weight[:, inputs.user_columns].t()

    def _score(
        self, first: _Layer, rest: list[_Layer], reading: _Reading | None
    ) -> Tensor:
        """Scores in blocks of users, :obj:`[B, I]`."""
        num_items = self.hidden.size(-1)
        score = self.hidden.new_empty(len(first.scale), num_items)
        last = self.model.decoder.lin_out.weight[0]
        for start in range(0, len(score), self.step):
            users = slice(start, start + self.step)
            scale, shift, _ = first.of(users)
            # size = [b, C, I]
            hidden = scale * self.hidden
            if reading is None:
                hidden.add_(shift).relu_()
            else:
                read = self._attend(reading.of(users))
                hidden.baddbmm_(reading.lin[users], read).relu_()
            for layer in rest:
                _, shift, weight = layer.of(users)
                hidden = torch.baddbmm(shift, weight, hidden).relu_()
            torch.matmul(last, hidden, out=score[users])
        return score.add_(self.offset)

    def _attend(self, reading: _Reading) -> Tensor:
        """What the support says of all items, as :obj:`lin` takes it."""
        num_tasks, heads, size, _ = reading.key.size()
        width, pairs = reading.value.size(2) - 1, reading.pairs
        # size = [heads, b S, I]
        attention = torch.bmm(reading.key.transpose(0, 1).flatten(1, 2), self.query)
        place = pairs.slot.expand(heads, -1)
        attention.flatten(1).scatter_add_(1, place, pairs.likeness)
        # Relative to the sink, so that it counts as 1 below.
        attention.clamp_(max=MOST_BITS).exp2_()
        # size = [heads, b, D + 1, I]
        value = reading.value.transpose(0, 1)
        read = value.flatten(0, 1) @ attention.view(heads * num_tasks, size, -1)
        read = read.view(heads, num_tasks, width + 1, -1).transpose(1, 2)
        read, total = read.split([width, 1], dim=1)

        made = read.new_empty(reading.lin.size(-1), num_tasks, read.size(-1))
        parts = [heads * width, len(pairs.kernel), reading.pooled.size(1), 1]
        means, sums, products, ones = made.split(parts)
        torch.div(read, total.add_(1), out=means.view_as(read))
        place = pairs.task.expand(len(sums), -1)
        sums.zero_().flatten(1).scatter_add_(1, place, pairs.kernel)
        vector = self.catalogue.vector.t()
        pooled = reading.pooled.transpose(0, 1).flatten(0, 1)
        torch.mm(pooled, vector, out=products.flatten(0, 1))
        ones.fill_(1)
        return made.transpose(0, 1)

    def _pairs(self, batch: EpisodeBatch, weight: Tensor, sent: Tensor) -> _Pairs:
        """Of support items and others all that somebody has met together."""
        size = batch.support_item.size(1)
        start = self.catalogue.ptr[batch.support_item]
        count = (
            self.catalogue.ptr[batch.support_item + 1] - start
        ) * batch.support_mask
        slot = torch.repeat_interleave(count.flatten())
        place = ragged(start.flatten(), count.flatten())
        other, kernel = (
            table.index_select(0, place)
            for table in (self.catalogue.other, self.catalogue.kernel)
        )
        weight = weight.flatten(0, 1).index_select(0, slot)
        sent = sent.flatten(0, 1).index_select(0, slot)
        # size = [2 (E - 1), P], [R, P]
        sums = (weight[:, :, None] * kernel[:, None]).flatten(1).t()
        positive = kernel[:, self.model.inputs.statistics.positive[:-1]]
        regressed = (sent * positive[..., None]).sum(1).t()
        slot %= self.step * size
        num_items = self.hidden.size(-1)
        return _Pairs(
            offsets(count.sum(-1)).tolist(),
            slot * num_items + other,
            slot.div(size, rounding_mode='floor') * num_items + other,
            self.kernel_weight @ sums,
            torch.cat([sums, regressed]),
        )


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


class _Pairs(NamedTuple):
    """P pairs of a support item and another that somebody has met together.

    Attributes:
        ptr: Where the pairs of each task begin, :obj:`B + 1` numbers.
        slot: The place among slots and items of a block, :obj:`[P]`.
        task: The place among tasks and items of a block, :obj:`[P]`.
        likeness: What logits take of kernels, in bits, :obj:`[heads, P]`.
        kernel: Kernels by surprise for good and for bad, and what regressions make of
            them, :obj:`[2 (E - 1) + R, P]`.
    """

    ptr: list[int]
    slot: Tensor
    task: Tensor
    likeness: Tensor
    kernel: Tensor

    def of(self, users: slice) -> _Pairs:
        ptr = self.ptr[users.start : users.stop + 1]
        return _Pairs(ptr, *(value[..., ptr[0] : ptr[-1]] for value in self[1:]))


class _Reading(NamedTuple):
    """What attention reads of B supports of S items.

    Attributes:
        key: In bits, and what vectors and all queries have added to it, :obj:`[B,
            heads, S, D + rank + 1]`.
        value: With a last channel of ones, :obj:`[B, heads, D + 1, S]`.
        pooled: Sums of vectors by surprise for good and for bad, and by what is sent to
            regressions, :obj:`[B, 2 + R, rank]`.
        lin: What the decoder makes of it all, :obj:`[B, C, heads * D + 2 E + 2 R + 1]`.
        pairs: Kernels that are not zero.
    """

    key: Tensor
    value: Tensor
    pooled: Tensor
    lin: Tensor
    pairs: _Pairs

    def of(self, users: slice) -> _Reading:
        return _Reading(*(v[users] for v in self[:-1]), self.pairs.of(users))
