"""Scores of all items for adapted users.

What depends on items alone is computed once for a fitted model: their features, their
part of the decoder's first layer, and the queries of the attention. The rest are calls
of the model's own layers, as in its forward pass. Users with interactions in the item
statistics have features of their own, and a plain forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.loader import EpisodeBatch
from tanp.model import NeuralProcess


class Catalogue:
    """What a fitted model computes from items alone; immutable.

    It is called with this model in evaluation mode, or the same one for other users.
    """

    @torch.no_grad()
    def __init__(self, model: NeuralProcess) -> None:
        statistics = model.statistics
        self.reads = statistics is not None and bool(model.attention or model.gp)
        if not self.reads:
            return
        lin = model.decoder.lins[0]
        device = lin.weight.device
        self.query = None
        every = torch.arange(model.num_items, device=device)[None]
        nobody = torch.full((1,), -1, device=device)
        self.items = statistics.features(nobody, every)
        self.base = model.base(self.items)
        x = model.embed(self.items, self.base.new_empty(1, 0))[0]
        # Columns of the first layer: what is known of an item and of the user, what is
        # read of the support for an item, and what a task's items share.
        bounds = [x.size(-1), model.in_channels, model.decoder.in_channels]
        weight, *self.weights = lin.weight.tensor_split(bounds, dim=-1)
        # size = [I, C]
        self.hidden = F.linear(x, weight, lin.bias)
        if model.attention:
            lin = model.attention.lin_query
            weight, self.user_query = lin.weight.tensor_split(bounds[:1], dim=-1)
            query = F.linear(x, weight, lin.bias)[None]
            # size = [1, heads, D, I]
            self.query = model.attention.split_heads(query).mT.contiguous()

    @torch.no_grad()
    def __call__(self, model: NeuralProcess, batch: EpisodeBatch) -> Tensor:
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
        codes = model.encode(batch, support, user)
        z = [] if codes.prior is None else [codes.prior.mu]
        shared = F.linear(torch.cat([*z, codes.summary], dim=-1), self.weights[2])
        shared = shared + F.linear(user, self.weights[0])
        tasks = (codes, user, model.decoder.modulate(codes.task, shared))
        scores = []
        kernels = model.statistics.catalogue_kernels(support, self.items)
        # One task at a time: what it needs fits a cache.
        for task, kernel in enumerate(kernels):
            code, user, modulation = _rows(tasks, slice(task, task + 1))
            (gamma, beta), *others = modulation
            query = self.query
            if query is not None and user.size(-1):
                own = F.linear(user, self.user_query)[:, None]
                query = query + model.attention.split_heads(own).mT
            # size = [1, I, C]
            hidden = torch.addcmul(beta, self.hidden, gamma)
            read = model.read(query, code, kernel)
            hidden.baddbmm_(read.mT, gamma * self.weights[1].mT)
            scores.append(model.decoder.decode(hidden.relu_(), others))
        return torch.cat(scores) + self.base + codes.level

    @staticmethod
    @torch.no_grad()
    def plain(model: NeuralProcess, batch: EpisodeBatch) -> Tensor:
        """The same by a forward pass, for any users."""
        item = torch.arange(model.num_items, device=batch.user.device)
        item = item.expand(len(batch.user), -1)
        query = {'query_item': item, 'query_label': 0 * item, 'query_mask': item >= 0}
        return model(batch._replace(**query)).score


def _rows(value: Any, rows: slice) -> Any:
    """Some rows of all tensors in nested tuples."""
    if value is None or isinstance(value, Tensor):
        return value if value is None else value[rows]
    made = [_rows(part, rows) for part in value]
    return type(value)(*made) if hasattr(value, '_fields') else made
