"""What supports say of every item, as far as no item has to be looked at for it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tanp.inputs import TaskInputs
from tanp.loader import EpisodeBatch
from tanp.model import TaNP
from tanp.pairs import MetPairs
from tanp.strangers import StrangerInputs

BITS = math.log2(math.e)


class SupportReader:
    """Reads supports by a model's attention and, if it has one, its regression.

    What the decoder's first layer takes of an item is laid out as rows: the heads'
    means, what vectors make of the last kernel for good and for bad, what R
    regressions expect, and sums of the other kernels for good and for bad.

    Args:
        model (TaNP): With attention, in evaluation mode.
        strangers (StrangerInputs): Of the model.
    """

    def __init__(self, model: TaNP, strangers: StrangerInputs) -> None:
        self.model, self.strangers = model, strangers
        attention, told = model.attention, strangers.told
        self.heads, self.num_kernels = attention.heads, attention.num_kernels - 1
        # size = [heads, D + rank + 1, I]
        query = attention.lin_query(strangers.x).t()
        query = query.reshape(self.heads, -1, len(strangers.x))
        self.vector = told.vector.t().contiguous()
        vector = self.vector.expand(self.heads, -1, -1)
        self.query = torch.cat([query, vector, torch.ones_like(query[:, :1])], dim=1)
        # Of the kernels of a pair: what logits take for good and for bad, what sums
        # take, and what regressions take.
        weight = attention.lin_kernel.weight.view(self.heads, 2, -1)[..., :-1]
        mixed = [BITS * weight.transpose(0, 1).reshape(2 * self.heads, -1)]
        mixed.append(torch.eye(self.num_kernels).to(weight))
        self.mix = weight.new_empty(0, 2)
        if model.regression is not None:
            self.mix = model.regression.mix()
            positive = weight.new_zeros(len(self.mix), self.num_kernels)
            positive[:, model.inputs.statistics.positive[:-1]] = self.mix[:, :-2]
            mixed.append(positive)
        pair = model.inputs.statistics.tally.pair
        self.pairs = MetPairs(told, pair, torch.cat(mixed).t().contiguous())

    @property
    def columns(self) -> list[int]:
        """How many columns of what is read of kernels each reader takes."""
        return [self.heads, self.heads, self.num_kernels, len(self.mix)]

    def __call__(
        self, batch: EpisodeBatch, inputs: TaskInputs, scale: Tensor
    ) -> Reading:
        """Reads the supports of a batch.

        Args:
            batch (EpisodeBatch): Its query is not read.
            inputs (TaskInputs): Of the supports.
            scale (Tensor): Of the decoder's first layer, :obj:`[B, C]`.
        """
        attention, rank = self.model.attention, len(self.vector)
        support, mask = inputs.support, batch.support_mask
        x, surprise = support.pad(inputs.x), support.pad(inputs.surprise)
        key, value, weight, own = attention.encode(x, surprise, mask)
        key = key / attention.head_channels**0.5
        # What a support item adds to all queries, the user's share of them included.
        shared = self.strangers.user(attention.lin_query.weight, batch.user)
        level = key @ shared.view(len(key), self.heads, -1, 1)
        level = level + (attention.lin_kernel.bias - attention.sink)[:, None, None]
        level = level.masked_fill(~mask[:, None, :, None], -torch.inf)
        vector = self.strangers.told.vector[batch.support_item] / rank
        # size = [B, heads, S, rank]
        product = own[..., -1].mT[..., None] * vector[:, None]
        key = BITS * torch.cat([key, product, level], dim=-1)
        # A value of ones sums up the attention.
        value = torch.cat([value, torch.ones_like(value[..., :1])], dim=-1)

        sent, constant = self._regress(batch, surprise, vector)
        pooled = torch.cat([weight, sent * self.mix[:, -2]], dim=-1).mT @ vector
        # In the order of the columns of what is read of kernels.
        sign = weight.repeat_interleave(self.heads, dim=-1)
        size = weight.sum(-1, keepdim=True).expand(-1, -1, self.num_kernels)
        return Reading(
            key.transpose(0, 1),
            value.permute(1, 0, 3, 2).contiguous(),
            pooled,
            *self._lin(weight, constant, scale),
            torch.cat([sign, size, sent], dim=-1),
            weight[..., 1] > 0,
        )

    def _regress(
        self, batch: EpisodeBatch, surprise: Tensor, vector: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What support items send by R regressions, and all items are sent."""
        if self.model.regression is None:
            return surprise.new_empty(*surprise.size(), 0), surprise.new_empty(len(surprise), 0)
        positive = self.model.inputs.statistics.positive
        kernel = self.pairs.among(batch.support_item)[..., positive[:-1]]
        product = vector @ self.strangers.told.vector[batch.support_item].mT
        kernel = torch.cat([kernel, product[..., None]], dim=-1)
        mask = batch.support_mask
        return self.model.regression.encode(kernel, surprise, mask, self.mix)

    def _lin(
        self, weight: Tensor, constant: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the decoder makes of rows, :obj:`[B, C, K]`, and of all, `[B, C]`."""
        attention, decoder = self.model.attention, self.model.decoder
        # size = [C, heads * D], [C, 2 E], [C, 2 E], [C, R]
        width, end = 2 * attention.num_kernels, attention.out_channels
        read, total, mean, expected = (
            decoder.lins[0]
            .weight[:, self.strangers.x.size(-1) : decoder.in_channels]
            .tensor_split((end - 2 * width, end - width, end), dim=-1)
        )
        # Means are multiples of sums.
        total = total + mean / attention.count(weight)[:, None]
        total = total.unflatten(-1, (2, -1))
        parts = [read, total[..., -1], expected, total[..., :-1].mT.flatten(2)]
        parts = [part.expand(len(total), -1, -1) for part in parts]
        lin = scale[..., None] * torch.cat(parts, dim=-1)
        return lin, scale * (constant @ expected.t())


class Reading(NamedTuple):
    """What is read of B supports of S items.

    Attributes:
        key: In bits, and what vectors and all queries have added to it, :obj:`[heads,
            B, S, D + rank + 1]`.
        value: With a last channel of ones, :obj:`[heads, B, D + 1, S]`.
        pooled: Sums of vectors by surprise for good and for bad, and by what is sent to
            regressions, :obj:`[B, 2 + R, rank]`.
        lin: What the decoder makes of K rows an item, :obj:`[B, C, K]`.
        shift: What it makes of what regressions expect of all items, :obj:`[B, C]`.
        weight: By what support items weigh what is read of their kernels,
            :obj:`[B, S, 2 heads + E - 1 + R]`.
        bad: Which support items surprise for bad, :obj:`[B, S]`.
    """

    key: Tensor
    value: Tensor
    pooled: Tensor
    lin: Tensor
    shift: Tensor
    weight: Tensor
    bad: Tensor
