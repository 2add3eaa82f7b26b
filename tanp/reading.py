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
        self.vector = told.vector.t().contiguous()
        # What is known of items, and ones, :obj:`[F + 1, I]`. The same for all heads,
        # so that logits are one product: keys are taken to it, in place of queries.
        user = model.inputs.user_columns
        x = torch.cat([strangers.x[:, : user.start], strangers.x[:, user.stop :]], -1)
        self.known = torch.cat([x, torch.ones_like(x[:, :1])], dim=-1).t().contiguous()
        self.vector_columns = slice(user.start, user.start + len(self.vector))
        weight = attention.lin_query.weight
        weight = torch.cat([weight[:, : user.start], weight[:, user.stop :]], dim=-1)
        # size = [heads, D, F], [heads, D]
        self.query = weight.view(self.heads, -1, weight.size(-1))
        self.query_bias = attention.lin_query.bias.view(self.heads, -1)
        self.level = (attention.lin_kernel.bias - attention.sink)[:, None, None]
        self.mix = weight.new_empty(0, 2)
        if model.regression is not None:
            self.mix = model.regression.mix()
        statistics = model.inputs.statistics
        # Regressions read some kernels, and the products of vectors.
        self.regressed = statistics.positive[:-1]
        pair = statistics.tally.pair
        self.pairs = MetPairs(told, pair, self._readers(), self.regressed)
        # Products of vectors are means over their channels.
        self.scaled = told.vector / told.vector.size(-1)
        self.parts = self._parts()

    def _readers(self) -> Tensor:
        """What is made of kernels of pairs, :obj:`[2 heads + (E - 1) + R, E - 1]`.

        Logits take it for good and for bad, sums take kernels as they are, and then
        there are regressions.
        """
        weight = self.model.attention.lin_kernel.weight
        weight = weight.view(self.heads, 2, -1)[..., :-1].transpose(0, 1)
        regressed = weight.new_zeros(len(self.mix), self.num_kernels)
        regressed[:, self.regressed] = self.mix[:, :-2]
        kept = torch.eye(self.num_kernels).to(weight)
        return torch.cat([BITS * weight.flatten(0, 1), kept, regressed])

    def _parts(self) -> tuple[Tensor, ...]:
        """What the decoder takes of means that heads read, sums of kernels for good and
        bad, their means, and regressions: C rows of each.
        """
        attention, decoder = self.model.attention, self.model.decoder
        width, end = 2 * attention.num_kernels, attention.out_channels
        known = self.strangers.x.size(-1)
        weight = decoder.lins[0].weight[:, known : decoder.in_channels]
        return weight.tensor_split((end - 2 * width, end - width, end), dim=-1)

    @property
    def readers(self) -> list[int]:
        """How many of these are for good, for bad, for sums and for regressions."""
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
        attention = self.model.attention
        support, mask = inputs.support, batch.support_mask
        x, surprise = support.pad(inputs.x), support.pad(inputs.surprise)
        key, value, weight, own = attention.encode(x, surprise, mask)
        key = key / attention.head_channels**0.5
        # What a support item adds to all queries, the user's share of them included.
        shared = self.strangers.user(attention.lin_query.weight, batch.user)
        shared = shared.view(len(key), self.heads, -1) + self.query_bias
        level = (key * shared[:, :, None]).sum(-1, keepdim=True)
        level = (level + self.level).masked_fill(~mask[:, None, :, None], -torch.inf)
        vector = self.scaled[batch.support_item]
        # size = [B, heads, S, F]
        key = key @ self.query
        likeness = own[..., -1:].transpose(1, 2)
        key[..., self.vector_columns].addcmul_(likeness, vector[:, None])
        key = BITS * torch.cat([key, level], dim=-1)
        # A value of ones sums up the attention.
        value = torch.cat([value, torch.ones_like(value[..., :1])], dim=-1)

        sent, constant = self._regress(batch, surprise, vector)
        pooled = torch.cat([weight, sent * self.mix[:, -2]], dim=-1)
        pooled = torch.bmm(pooled.mT, vector)
        # As readers of pairs follow each other.
        size = weight.sum(-1, keepdim=True)
        sign = weight.repeat_interleave(self.heads, dim=-1)
        size = size.expand(-1, -1, self.num_kernels)
        readers = torch.cat([sign, size, sent], dim=-1)
        return Reading(
            key.transpose(0, 1),
            value.permute(1, 0, 3, 2).contiguous(),
            pooled,
            *self._lin(weight, constant, scale),
            readers.permute(2, 0, 1).contiguous(),
            weight[..., 1] > 0,
        )

    def _regress(
        self, batch: EpisodeBatch, surprise: Tensor, vector: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What support items send by R regressions, and all items are sent."""
        if self.model.regression is None:
            nothing = surprise.new_empty(*surprise.size(), 0)
            return nothing, nothing[:, 0]
        kernel = self.pairs.among(batch.support_item)
        vectors = self.strangers.told.vector[batch.support_item]
        product = torch.bmm(vector, vectors.mT)
        kernel = torch.cat([kernel, product[..., None]], dim=-1)
        mask = batch.support_mask
        return self.model.regression.encode(kernel, surprise, mask, self.mix)

    def _lin(
        self, weight: Tensor, constant: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the decoder makes of rows, :obj:`[B, C, K]`, and of all, `[B, C]`."""
        read, total, mean, expected = self.parts
        # Means are multiples of sums.
        total = total + mean / self.model.attention.count(weight)[:, None]
        total = total.unflatten(-1, (2, -1))
        parts = [read, total[..., -1], expected, total[..., :-1].mT.flatten(2)]
        parts = [part.expand(len(total), -1, -1) for part in parts]
        lin = scale[..., None] * torch.cat(parts, dim=-1)
        return lin, scale * (constant @ expected.t())


class Reading(NamedTuple):
    """What is read of B supports of S items.

    Attributes:
        key: What logits take of what is known of an item, and of ones, in bits,
            :obj:`[heads, B, S, F + 1]`.
        value: With a last channel of ones, :obj:`[heads, B, D + 1, S]`.
        pooled: Sums of vectors by surprise for good and for bad, and by what is sent to
            regressions, :obj:`[B, 2 + R, rank]`.
        lin: What the decoder makes of K rows an item, :obj:`[B, C, K]`.
        shift: What it makes of what regressions expect of all items, :obj:`[B, C]`.
        weight: By what readers weigh what they make of support items' kernels,
            :obj:`[2 heads + E - 1 + R, B, S]`.
        bad: Which support items surprise for bad, :obj:`[B, S]`.
    """

    key: Tensor
    value: Tensor
    pooled: Tensor
    lin: Tensor
    shift: Tensor
    weight: Tensor
    bad: Tensor
