"""Scores of all items for users without interactions in the item statistics.

What depends on items alone is computed once for a fitted model: their features, their
part of the decoder's first layer, and the queries of the attention. The rest are calls
of the model's own layers, as in its forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.item_statistics import NUM_KERNELS, ItemFeatures
from tanp.loader import EpisodeBatch
from tanp.model import TaNP

# A row beyond any table: a user without interactions.
NOBODY = 2**31
# Users at a time: their supports are encoded together.
STEP = 16


class Catalogue:
    """A fitted model, and what it computes from items alone; immutable.

    Args:
        model (TaNP): In evaluation mode, and not changed later.
    """

    @torch.no_grad()
    def __init__(self, model: TaNP) -> None:
        self.model, self.statistics = model, model.statistics
        lin = model.decoder.lins[0]
        item = torch.arange(model.num_items, device=lin.weight.device)[None]
        self.base, self.reads, self.query = 0.0, False, None
        if self.statistics is None:
            x = model.embed(item, None)[0]
        else:
            nobody = torch.tensor([NOBODY], device=lin.weight.device)
            self.items = self.statistics.features(nobody, item)
            self.vector = self.items.vector[0].t().contiguous()
            self.reads = bool(model.attention or model.gp)
            x, self.base = model.embed(self.items, None)[0], model.base(self.items)
        # Columns of the first layer: what is known of an item and of the user, what is
        # read of the support for an item, and what a task's items share.
        user = 0 if model.user is None else model.user.out_channels
        sizes = [x.size(-1), user, model.decoder.in_channels - x.size(-1) - user]
        sizes.append(lin.in_features - sum(sizes))
        weight, *self.weights = lin.weight.split_with_sizes(sizes, dim=-1)
        # size = [I, C]
        self.hidden = F.linear(x, weight, lin.bias)
        if self.reads and model.attention:
            lin = model.attention.lin_query
            weight, self.user_query = lin.weight.split_with_sizes(sizes[:2], dim=-1)
            query = F.linear(x, weight, lin.bias)[None]
            # size = [1, heads, D, I]
            self.query = model.attention.split_heads(query).mT.contiguous()

    @torch.no_grad()
    def __call__(self, batch: EpisodeBatch, user: Tensor | None = None) -> Tensor:
        """Scores of all items for each task of a batch, :obj:`[B, I]`.

        Args:
            batch (EpisodeBatch): Its query is not read.
            user (Tensor, optional): See :meth:`TaNP.forward <tanp.TaNP.forward>`.
        """
        batch, model = batch.cleared(self.hidden.dtype), self.model
        user = model.embed_user(batch.user, user)
        if self.statistics is None:
            x = model.embed(batch.support_item, user)
            code = model.encode(x, batch.support_label, batch.support_mask)
            context, level = [], 0.0
        else:
            support = self.statistics.features(batch.user, batch.support_item)
            code = model.encode(batch, support, user)
            context, level = [code.summary], code.level
        if code.prior is not None:
            context.insert(0, code.prior.mu)
        context = torch.cat(context, dim=-1) if context else None
        parts = (user, self.weights[0]), (context, self.weights[2])
        shared = [F.linear(value, w) for value, w in parts if value is not None]
        shared = sum(shared) if shared else None
        tasks = code, user, model.decoder.modulate(code.task, shared)
        kernels = self._kernels(support) if self.reads else repeat(None)
        # One task at a time: what it needs fits a cache.
        scores = [
            self._decode(kernel, *_rows(tasks, slice(task, task + 1)))
            for task, kernel in zip(range(len(batch.user)), kernels, strict=False)
        ]
        return torch.cat(scores) + self.base + level

    @torch.no_grad()
    def plain(self, batch: EpisodeBatch, user: Tensor | None = None) -> Tensor:
        """The same by a forward pass, for any users."""
        item = torch.arange(self.model.num_items, device=batch.user.device)
        item = item.expand(len(batch.user), -1)
        label = torch.zeros_like(item, dtype=batch.support_label.dtype)
        parts = batch[:4], (item, label, torch.ones_like(item, dtype=torch.bool))
        return self.model(EpisodeBatch(*parts[0], *parts[1]), user=user).score

    def _decode(self, kernel: Any, code: Any, user: Any, modulation: Any) -> Tensor:
        (gamma, beta), *others = modulation
        # size = [1, I, C]
        hidden = torch.addcmul(beta, self.hidden, gamma)
        if kernel is not None:
            query = self.query
            if query is not None and user is not None:
                own = F.linear(user, self.user_query)[:, None]
                query = query + self.model.attention.split_heads(own).mT
            read = self.model.read(query, code, kernel)
            hidden.baddbmm_(read.mT, gamma * self.weights[1].mT)
        return self.model.decoder.decode(hidden.relu_(), others)

    def _kernels(self, support: ItemFeatures) -> Iterator[Tensor]:
        """Kernels of each task's support and all items, :obj:`[1, S, E, I]`.

        All tasks take turns in the same memory, of which most is zero.
        """
        num_tasks, size = support.item.size()
        num_items = len(self.hidden)
        slot, other, values = self.statistics.co_occurring(support, self.items)
        place = (slot % size * NUM_KERNELS) * num_items + other
        number = torch.arange(len(values), device=slot.device)[:, None]
        place = place + num_items * number
        bounds = torch.arange(num_tasks + 1, device=slot.device) * size
        bounds = torch.searchsorted(slot, bounds).tolist()
        kernel = self.hidden.new_zeros(1, size, NUM_KERNELS, num_items)
        for task, (start, end) in enumerate(pairwise(bounds)):
            own = place[:, start:end].flatten()
            kernel.view(-1).index_copy_(0, own, values[:, start:end].flatten())
            kernel[0, :, -1] = support.vector[task] / self.statistics.rank @ self.vector
            yield kernel
            kernel.view(-1).index_fill_(0, own, 0)


def _rows(value: Any, rows: slice) -> Any:
    """Some rows of all tensors in nested tuples."""
    if value is None or isinstance(value, Tensor):
        return value if value is None else value[rows]
    made = [_rows(part, rows) for part in value]
    return type(value)(*made) if hasattr(value, '_fields') else made
