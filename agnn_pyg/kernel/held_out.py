"""Ranking metrics on the held-out positives of a fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.base.ranking import pairs_among

# The K of nDCG@K, and the maximum number of scores, which limits the users of a fold.
K, MAX_SCORES = 20, 2**22


class HeldOut(NamedTuple):
    """Users and items of a fold for which metrics are computed."""

    users: Tensor
    items: Tensor
    truth: Tensor  # held-out labels, [users, items]
    is_train: Tensor  # pairs that are fitted on

    @classmethod
    def of(
        cls,
        edge_index: Tensor,
        label: Tensor,
        held: Tensor,
        kept: Tensor,
        seed: int,
        name: str = 'warm',
        nodes: Sequence[Tensor] | None = None,
    ) -> HeldOut:
        """Selects as many users of :obj:`nodes` as allowed, and all of their items.

        By default, users are those with held-out positives. Items are the held-out ones
        or the whole catalogue, depending on the scenario.
        """
        if nodes is None:
            is_listed = held if name in ('item_cold', 'both_cold') else slice(None)
            nodes = edge_index[0, held].unique(), edge_index[1, is_listed].unique()
        users, items = nodes
        count = max(1, MAX_SCORES // len(items))
        if len(users) > count:
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.randperm(len(users), generator=generator)[:count]
            users = users[chosen].sort().values
        row, column, found = pairs_among(edge_index, users, items)
        held, kept = held & found, kept & found
        truth = torch.zeros(len(users), len(items), dtype=torch.float64)
        truth[row[held], column[held]] = label[held]
        is_train = torch.zeros_like(truth, dtype=torch.bool)
        is_train[row[kept], column[kept]] = True
        return cls(users, items, truth, is_train)

    def ndcg(self, score: Tensor) -> Tensor:
        """The nDCG of each user, :obj:`[users]`."""
        # Ties are rare here, so gains are not averaged over them.
        top = score.masked_fill(self.is_train, -torch.inf).topk(min(K, score.size(1)))
        is_relevant = (self.truth > 0).double()
        discount = torch.arange(2, top.indices.size(1) + 2).double().log2().reciprocal()
        count = is_relevant.sum(dim=1).long().clamp(max=len(discount))
        gain = (is_relevant.gather(1, top.indices) * discount).sum(dim=1)
        return gain / F.pad(discount.cumsum(0), (1, 0), value=1.0)[count]

    def metrics(self, score: Tensor) -> Tensor:
        """Returns the sum of nDCG, and sums for the least-squares scale of scores."""
        known = score.double().masked_fill(self.is_train, 0)
        parts = self.ndcg(score.double()), known * self.truth, known.square()
        return torch.stack([part.sum() for part in parts])
