"""What other users' interactions say of items, and the rule that keeps it honest.

All that a model is told about items beyond their ids and attributes comes from
here: counts, co-occurrences and item vectors. They are fitted on the interactions
of training users, and training users are also what the model learns from. So
there is one rule: **nothing read for a task comes from the task's own user.**

* Counts and co-occurrences leave the own user out exactly: what the user added is
  looked up and subtracted.
* Item vectors cannot be corrected one user at a time. They are cross-fitted: users
  are dealt into folds, and a user is given vectors fitted without its fold.
* A user that was not fitted on, as every new user, has nothing to leave out.

The rule holds in training and in evaluation alike, as it belongs to the user and
not to the mode. The labels of a query are never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tanp.episodes import Episodes

if TYPE_CHECKING:
    import scipy.sparse

# Upper bounds of the bins of an item's positive count; zero has one of its own.
BINS = (0, 1, 2, 4, 8, 16, 32)
# Brings damped cosines, which rarely exceed a fifth, to the size of a logarithm.
KERNEL_SCALE = 5.0


class InteractionStatistics(nn.Module):
    r"""Counts, co-occurrences and vectors of items, without the own user's share.

    With :math:`P_i` the users that like item :math:`i` and :math:`N_i` those
    that do not, it holds :math:`|P_i|`, :math:`|N_i|`, :math:`|P_i \cap P_j|`
    and :math:`|P_i \cap N_j|`, both :math:`I \times I` and dense, which is
    meant for up to some ten thousand items.

    Args:
        num_items (int): Rows in the table of items.
        num_users (int): Rows in the table of users.
        num_interactions (int): Interactions fitted on.
        rank (int): Width of the item vectors.
        folds (int): User folds of the cross-fit.
        damping (float): Added to counts in denominators.
    """

    num_counts = len(BINS) + 3
    num_kernels = 3

    def __init__(
        self,
        num_items: int,
        num_users: int,
        num_interactions: int,
        rank: int = 16,
        folds: int = 10,
        damping: float = 10.0,
    ) -> None:
        super().__init__()
        self.config = {
            'num_items': num_items,
            'num_users': num_users,
            'num_interactions': num_interactions,
            'rank': rank,
            'folds': folds,
            'damping': damping,
        }
        self.num_items, self.rank, self.damping = num_items, rank, damping
        buffers = {
            'key': torch.zeros(num_interactions, dtype=torch.long),
            'sign': torch.zeros(num_interactions, dtype=torch.int8),
            'positive': torch.zeros(num_items),
            'negative': torch.zeros(num_items),
            'together': torch.zeros(num_items, num_items, dtype=torch.int16),
            'against': torch.zeros(num_items, num_items, dtype=torch.int16),
            'fold': torch.full((num_users,), folds),
            'vector': torch.zeros(folds + 1, num_items, rank),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)

    @classmethod
    def fit(
        cls,
        episodes: Episodes,
        num_items: int,
        num_users: int,
        *,
        rank: int = 16,
        folds: int = 10,
        damping: float = 10.0,
        relevant: float = 0.5,
        seed: int = 0,
    ) -> InteractionStatistics:
        """Fits on all interactions of the given tasks, support and query alike."""
        import scipy.sparse

        self = cls(num_items, num_users, len(episodes.item), rank, folds, damping)
        row = torch.repeat_interleave(episodes.user, episodes.size)
        self.key, order = (row * num_items + episodes.item).sort()
        likes = episodes.label > relevant
        self.sign = torch.where(likes, 1, -1).to(torch.int8)[order]
        like, dislike = (
            scipy.sparse.csr_matrix(
                (np.ones(int(chosen.sum())), (row[chosen], episodes.item[chosen])),
                shape=(num_users, num_items),
            )
            for chosen in (likes, ~likes)
        )
        self.positive += torch.from_numpy(like.sum(0).A1)
        self.negative += torch.from_numpy(dislike.sum(0).A1)
        for name, other in (('together', like), ('against', dislike)):
            count = (like.T @ other).tocoo()
            getattr(self, name)[count.row, count.col] = torch.from_numpy(
                count.data.astype(np.int16)
            )
        user = episodes.user.unique()
        generator = torch.Generator().manual_seed(seed)
        shuffled = user[torch.randperm(len(user), generator=generator)]
        self.fold[shuffled] = torch.arange(len(user)) % folds
        reference = _vectors(like, rank, damping)
        self.vector[folds] = reference
        for fold in range(folds):
            rest = like[(self.fold != fold).nonzero().flatten().numpy()]
            self.vector[fold] = _aligned(_vectors(rest, rank, damping), reference)
        scale = reference.square().mean().sqrt()
        self.vector /= scale.clamp(min=1e-12)
        return self

    def own(self, user: Tensor, item: Tensor) -> Tensor:
        """What each task's user has contributed: 1, -1 or 0, :obj:`[B, L]`."""
        key = user[:, None] * self.num_items + item
        place = torch.searchsorted(self.key, key).clamp(max=len(self.key) - 1)
        return self.sign[place] * (self.key[place] == key)

    def counts(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Likes and dislikes of items by other users, each :obj:`[B, L]`."""
        own = self.own(user, item)
        return self.positive[item] - (own > 0).float(), self.negative[item] - (
            own < 0
        ).float()

    def describe(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Item vectors without the user's fold, :obj:`[B, L, rank]`, and counts.

        The counts, :obj:`[B, L, num_counts]`, are the bin of the likes, as an
        indicator, and the logarithms of likes and dislikes, without the user's.
        """
        like, dislike = self.counts(user, item)
        bins = torch.tensor(BINS, dtype=like.dtype, device=like.device)
        indicator = F.one_hot(torch.bucketize(like, bins), len(BINS) + 1)
        counts = [indicator.to(like.dtype), like.log1p()[..., None]]
        counts.append(dislike.log1p()[..., None])
        vector = self.vector[self.fold[user][:, None], item]
        return vector, torch.cat(counts, dim=-1)

    def kernels(self, user: Tensor, query: Tensor, support: Tensor) -> Tensor:
        """Likeness of query items to support items, :obj:`[B, Q, S, 3]`.

        Damped cosine of common likes, logarithm of their number, and damped cosine
        of likes of the one with dislikes of the other.
        """
        own_q, own_s = (self.own(user, item) for item in (query, support))
        likes = (own_q > 0)[:, :, None]
        pair = query[:, :, None], support[:, None, :]
        together = self.together[pair] - (likes & (own_s > 0)[:, None]).int()
        against = self.against[pair] - (likes & (own_s < 0)[:, None]).int()
        (positive, _), others = self.counts(user, query), self.counts(user, support)
        norm = [
            (
                (positive + self.damping)[:, :, None] * (n + self.damping)[:, None]
            ).rsqrt()
            for n in others
        ]
        return torch.stack(
            [
                KERNEL_SCALE * together * norm[0],
                together.float().log1p(),
                KERNEL_SCALE * against * norm[1],
            ],
            dim=-1,
        )


def _vectors(like: scipy.sparse.csr_matrix, rank: int, damping: float) -> Tensor:
    r"""Item vectors of a truncated SVD of :math:`X \mathrm{diag}(|P_i| + d)^{-1/2}`."""
    import scipy.sparse
    from scipy.sparse.linalg import svds

    weight = scipy.sparse.diags(1 / np.sqrt(like.sum(0).A1 + damping))
    # A fixed start makes the solver repeat exactly.
    start = np.ones(min(like.shape))
    _, value, right = svds(like @ weight, k=rank, v0=start)
    return torch.from_numpy((right.T * value).copy()).float()


def _aligned(vector: Tensor, reference: Tensor) -> Tensor:
    """The vectors, rotated onto the reference (orthogonal Procrustes)."""
    left, _, right = torch.linalg.svd(vector.t() @ reference)
    return vector @ (left @ right)
