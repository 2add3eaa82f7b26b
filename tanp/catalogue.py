"""Scores of all items for adapted users.

What depends on items alone is computed once for a fitted model: their features, their
part of the decoder's first layer, and the queries of the attention. The rest are calls
of the model's own layers, as in its forward pass. Users with interactions in the item
statistics have features of their own, and a plain forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.episodes import offsets
from tanp.item_statistics import NOBODY, NUM_KERNELS, ItemFeatures, ItemStatistics
from tanp.loader import EpisodeBatch
from tanp.model import TaNP

# Users at a time: their supports are encoded together.
STEP = 16


class Catalogue:
    """What a fitted model computes from items alone; immutable.

    It is called with this model in evaluation mode, or the same one for other users.
    """

    @torch.no_grad()
    def __init__(self, model: TaNP) -> None:
        statistics = model.statistics
        self.reads = statistics is not None and bool(model.attention or model.gp)
        if not self.reads:
            return
        lin = model.decoder.lins[0]
        device, self.query = lin.weight.device, None
        every = torch.arange(model.num_items, device=device)[None]
        nobody = torch.full((1,), NOBODY, device=device)
        self.items = statistics.features(nobody, every)
        self.vector = self.items.vector[0].t().contiguous()
        x, self.base = model.embed(self.items, None)[0], model.base(self.items)
        # Columns of the first layer: what is known of an item and of the user, what is
        # read of the support for an item, and what a task's items share.
        user = model.embed_user(torch.zeros_like(nobody))
        user = 0 if user is None else user.size(-1)
        sizes = [x.size(-1), user, model.decoder.in_channels - x.size(-1) - user]
        sizes.append(lin.in_features - sum(sizes))
        weight, *self.weights = lin.weight.split_with_sizes(sizes, dim=-1)
        # size = [I, C]
        self.hidden = F.linear(x, weight, lin.bias)
        if model.attention:
            lin = model.attention.lin_query
            weight, self.user_query = lin.weight.split_with_sizes(sizes[:2], dim=-1)
            query = F.linear(x, weight, lin.bias)[None]
            # size = [1, heads, D, I]
            self.query = model.attention.split_heads(query).mT.contiguous()

    @torch.no_grad()
    def __call__(self, model: TaNP, batch: EpisodeBatch) -> Tensor:
        """Scores of all items for each task of a batch, whose query is not read.

        The size is :obj:`[B, I]`.
        """
        size = len(batch.user)
        is_known = self.reads and model.statistics.has_interactions(batch.user).any()
        if is_known and size > 1:
            alone = (_rows(batch, slice(n, n + 1)) for n in range(size))
            return torch.cat([self(model, one) for one in alone])
        if is_known or not self.reads:
            return self.plain(model, batch)
        batch = batch.cleared(self.hidden.dtype)
        user = model.embed_user(batch.user)
        support = model.statistics.features(batch.user, batch.support_item)
        code = model.encode(batch, support, user)
        context = code.summary
        if code.prior is not None:
            context = torch.cat([code.prior.mu, context], dim=-1)
        shared = F.linear(context, self.weights[2])
        if user is not None:
            shared = shared + F.linear(user, self.weights[0])
        tasks = code, user, model.decoder.modulate(code.task, shared)
        # One task at a time: what it needs fits a cache.
        scores = [
            self._decode(model, kernel, *_rows(tasks, slice(task, task + 1)))
            for task, kernel in enumerate(self._kernels(model.statistics, support))
        ]
        return torch.cat(scores) + self.base + code.level

    @staticmethod
    @torch.no_grad()
    def plain(model: TaNP, batch: EpisodeBatch) -> Tensor:
        """The same by a forward pass, for any users."""
        item = torch.arange(model.num_items, device=batch.user.device)
        item = item.expand(len(batch.user), -1)
        label = torch.zeros_like(item, dtype=batch.support_label.dtype)
        mask = torch.ones_like(item, dtype=torch.bool)
        parts = {'query_item': item, 'query_label': label, 'query_mask': mask}
        return model(batch._replace(**parts)).score

    def _decode(
        self, model: TaNP, kernel: Tensor, code: Any, user: Any, modulation: Any
    ) -> Tensor:
        query = self.query
        if query is not None and user is not None:
            own = F.linear(user, self.user_query)[:, None]
            query = query + model.attention.split_heads(own).mT
        (gamma, beta), *others = modulation
        # size = [1, I, C]
        hidden = torch.addcmul(beta, self.hidden, gamma)
        read = model.read(query, code, kernel)
        hidden.baddbmm_(read.mT, gamma * self.weights[1].mT)
        return model.decoder.decode(hidden.relu_(), others)

    def _kernels(
        self, statistics: ItemStatistics, support: ItemFeatures
    ) -> Iterator[Tensor]:
        """Kernels of each task's support and all items, :obj:`[1, S, E, I]`.

        All tasks take turns in the same memory, of which most is zero.
        """
        num_tasks, size = support.item.size()
        num_items = len(self.hidden)
        found, other, values = statistics.co_occurring(support, self.items)
        slot = torch.repeat_interleave(found) % size
        place = slot * NUM_KERNELS * num_items + other
        place = torch.stack([place + num_items * n for n in range(len(values))])
        bounds = offsets(found.view(num_tasks, size).sum(1)).tolist()
        kernel = self.hidden.new_zeros(1, size, NUM_KERNELS, num_items)
        for task, (start, end) in enumerate(pairwise(bounds)):
            own = place[:, start:end].flatten()
            kernel.view(-1).index_copy_(0, own, values[:, start:end].flatten())
            kernel[0, :, -1] = support.vector[task] / len(self.vector) @ self.vector
            yield kernel
            kernel.view(-1).index_fill_(0, own, 0)


def _rows(value: Any, rows: slice) -> Any:
    """Some rows of all tensors in nested tuples."""
    if value is None or isinstance(value, Tensor):
        return value if value is None else value[rows]
    made = [_rows(part, rows) for part in value]
    return type(value)(*made) if hasattr(value, '_fields') else made
