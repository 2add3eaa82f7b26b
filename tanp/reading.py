"""What supports say of every item, as far as no item has to be looked at for it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.inputs import TaskInputs
from tanp.loader import EpisodeBatch
from tanp.model import TaNP
from tanp.nn.regression import Mix
from tanp.pairs import MetPairs
from tanp.strangers import StrangerInputs

BITS = math.log2(math.e)


class SupportReader:
    """Reads supports by a model's attention and, if it has one, its regression.

    What the decoder's first layer takes of an item is laid out as rows: the heads'
    means, sums of each kernel for good and for bad, of which the last are what vectors
    make, and what R regressions expect.

    Args:
        model (TaNP): With attention, in evaluation mode.
        strangers (StrangerInputs): Of the model.
    """

    def __init__(self, model: TaNP, strangers: StrangerInputs) -> None:
        self.model, self.strangers = model, strangers
        attention, told = model.attention, strangers.told
        self.heads, self.num_kernels = attention.heads, attention.num_kernels - 1
        # Likenesses are means over the channels of vectors, and each takes its root.
        self.root = told.vector.size(-1) ** 0.5
        self.scaled = told.vector / self.root
        self.vector = self.scaled.t().contiguous()
        # What is known of items, and ones, :obj:`[F + 1, I]`. The same for all heads,
        # so that logits are one product: keys are taken to it, in place of queries.
        user = model.inputs.user_columns
        x = torch.cat([strangers.x[:, : user.start], strangers.x[:, user.stop :]], -1)
        self.known = torch.cat([x, torch.ones_like(x[:, :1])], dim=-1).t().contiguous()
        self.vector_columns = slice(user.start, user.start + len(self.vector))
        weight = attention.lin_query.weight
        weight = torch.cat([weight[:, : user.start], weight[:, user.stop :]], dim=-1)
        # size = [heads, D, F]
        self.query = weight.view(self.heads, -1, weight.size(-1))
        self.level = BITS * (attention.lin_kernel.bias - attention.sink)[:, None]
        statistics = model.inputs.statistics
        nothing = weight.new_empty(0, len(statistics.positive))
        self.mix = Mix(nothing, nothing[:, 0], nothing[:, 0])
        if model.regression is not None:
            self.mix = model.regression.mix()
        # Regressions read some kernels, and the products of vectors.
        self.regressed = statistics.positive[:-1]
        pair = statistics.tally.pair
        self.pairs = MetPairs(told, pair, self._readers(), self.regressed)
        # Whether a reader weighs a support item by how much it surprises for good, for
        # bad, or at all, or by what it sends to one of the regressions.
        good, bad, sums, expected = self.readers
        kind = [*good * [0], *bad * [1], *sums * [2], *range(3, 3 + expected)]
        self.kind = torch.tensor(kind, device=weight.device)
        self.parts = self._parts()

    def _readers(self) -> Tensor:
        """What is made of kernels of pairs, :obj:`[2 heads + (E - 1) + R, E - 1]`.

        Logits take it for good and for bad, sums take kernels as they are, and then
        there are regressions.
        """
        weight = self.model.attention.lin_kernel.weight
        weight = weight.view(self.heads, 2, -1)[..., :-1].transpose(0, 1)
        regressed = weight.new_zeros(self.readers[-1], self.num_kernels)
        regressed[:, self.regressed] = self.mix.weight[:, :-1]
        kept = torch.eye(self.num_kernels).to(weight)
        return torch.cat([BITS * weight.flatten(0, 1), kept, regressed])

    def _parts(self) -> tuple[Tensor, ...]:
        """What the decoder takes of means that heads read, :obj:`[C, heads D]`, of sums
        of kernels and their means, :obj:`[C, E, 2]`, and of regressions, :obj:`[C, R]`.
        """
        attention, decoder = self.model.attention, self.model.decoder
        width, end = 2 * attention.num_kernels, attention.out_channels
        known = self.strangers.x.size(-1)
        weight = decoder.lins[0].weight[:, known : decoder.in_channels]
        read, *sums, expected = weight.tensor_split(
            (end - 2 * width, end - width, end), dim=-1
        )
        return read, *(part.unflatten(-1, (2, -1)).mT for part in sums), expected

    @property
    def readers(self) -> list[int]:
        """How many of these are for good, for bad, for sums and for regressions."""
        return [self.heads, self.heads, self.num_kernels, len(self.mix.weight)]

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
        vector = F.embedding(batch.support_item, self.scaled)
        key = self._keys(key, own, vector, batch)
        # A value of ones sums up the attention.
        value = F.pad(value, (0, 1), value=1.0)

        sent, constant = self._regress(batch, surprise, vector)
        pooled = torch.cat([weight, sent * self.mix.weight[:, -1]], dim=-1)
        pooled = torch.bmm(pooled.mT, vector)
        readers = torch.cat([weight, weight.sum(-1, keepdim=True), sent], dim=-1)
        return Reading(
            key.transpose(0, 1),
            value.permute(1, 0, 3, 2).contiguous(),
            pooled,
            *self._lin(weight, constant, scale),
            readers.permute(2, 0, 1).index_select(0, self.kind),
            weight[..., 1] > 0,
        )

    def _keys(
        self, key: Tensor, own: Tensor, vector: Tensor, batch: EpisodeBatch
    ) -> Tensor:
        """What logits take of what is known of items, :obj:`[B, heads, S, F + 1]`."""
        attention = self.model.attention
        # What a support item adds to all queries, the user's share of them included.
        shared = self.strangers.user(attention.lin_query.weight, batch.user)
        shared = (shared + attention.lin_query.bias).view(len(key), self.heads, -1, 1)
        query = self.query.expand(len(key), -1, -1, -1)
        key = key * (BITS / attention.head_channels**0.5)
        key = key @ torch.cat([query, shared], dim=-1)
        # By the kernel that vectors make.
        likeness = own[..., -1:].transpose(1, 2)
        columns = key[..., self.vector_columns]
        columns.addcmul_(likeness, vector[:, None], value=BITS / self.root)
        level = key[..., -1].add_(self.level)
        level.masked_fill_(~batch.support_mask[:, None], -torch.inf)
        return key

    def _regress(
        self, batch: EpisodeBatch, surprise: Tensor, vector: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What support items send by R regressions, and all items are sent."""
        if self.model.regression is None:
            nothing = surprise.new_empty(*surprise.size(), 0)
            return nothing, nothing[:, 0]
        kernel = self.pairs.among(batch.support_item)
        product = torch.bmm(vector, vector.mT)
        kernel = torch.cat([kernel, product[..., None]], dim=-1)
        mask = batch.support_mask
        return self.model.regression.encode(kernel, surprise, mask, self.mix)

    def _lin(
        self, weight: Tensor, constant: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the decoder makes of rows, :obj:`[B, C, K]`, and of all, `[B, C]`."""
        read, total, mean, expected = self.parts
        # Means are multiples of sums.
        total = total + mean / self.model.attention.count(weight)[:, None, None]
        every = len(total), -1, -1
        parts = read.expand(every), total.flatten(2), expected.expand(every)
        lin = scale[..., None] * torch.cat(parts, dim=-1)
        return lin, scale * F.linear(constant, expected)


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
