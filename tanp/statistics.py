"""What other users' interactions say of items, and the rule that keeps it honest.

All that a model is told about items beyond their ids and attributes comes from
here: counts, co-occurrences and item vectors. They are fitted on the interactions
of training users, and training users are also what the model learns from. So
there is one rule: **nothing read for a task comes from the task's own user.**

* Counts and co-occurrences leave the own user out exactly: what the user added is
  looked up and subtracted.
* Item vectors cannot be corrected one user at a time. They are cross-fitted: users
  are dealt into folds, and a user is given vectors fitted without its fold.
* A user that was not fitted on has nothing to leave out; nor has a new user, whose
  row may lie beyond the table of users.

The rule holds in training and in evaluation alike, as it belongs to the user and
not to the mode. The labels of a query are never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tanp.episodes import Episodes
from tanp.loader import EpisodeBatch

if TYPE_CHECKING:
    import scipy.sparse

# Upper bounds of the bins of an item's likes; none at all has a bin of its own.
BINS = (0, 1, 2, 4, 8, 16, 32)
# Brings damped cosines, which rarely exceed a fifth, to the size of a logarithm.
COSINE_SCALE = 5.0
# Ratings that an item's mean, or a user's, is worth before it has any.
MEAN_DAMPING = 5.0


class Evidence(NamedTuple):
    """What other users say of the items of a batch, padded as it is.

    Attributes:
        support_vector: Item vectors, :obj:`[B, S, rank]`.
        support_counts: Popularity, :obj:`[B, S, num_counts]`.
        query_vector: See :obj:`support_vector`, for the query.
        query_counts: See :obj:`support_counts`, for the query.
        kernel: Likeness of query to support items, :obj:`[B, Q, S,
            num_kernels]`.
        support_kernel: Likeness of support items among themselves, by the positive
            semi-definite ones of the kernels, :obj:`[B, S, S, num_positive]`.
        support_base: Labels to expect, :obj:`[B, S]`.
        query_base: The same for the query, :obj:`[B, Q]`.
    """

    support_vector: Tensor
    support_counts: Tensor
    query_vector: Tensor
    query_counts: Tensor
    kernel: Tensor
    support_kernel: Tensor
    support_base: Tensor
    query_base: Tensor


class ItemKnowledge(NamedTuple):
    """What likenesses of items are made of, beside counts of pairs; all [B, L].

    Attributes:
        like: How many like an item.
        dislike: How many do not.
        square: Sum of its squared ratings, each less its user's mean.
        vector: Its vector, :obj:`[B, L, rank]`.
    """

    like: Tensor
    dislike: Tensor
    square: Tensor
    vector: Tensor


class Catalogue(NamedTuple):
    """All I items, as a user without a share in the statistics is told of them.

    Attributes:
        items: Of one user, :obj:`[1, I]`.
        counts: Popularity, :obj:`[I, num_counts]`.
        mean: Damped mean labels, :obj:`[I]`.
    """

    items: ItemKnowledge
    counts: Tensor
    mean: Tensor


class InteractionStatistics(nn.Module):
    r"""Counts, co-occurrences and vectors of items, without the own user's share.

    With :math:`P_i` the users that like item :math:`i` and :math:`N_i` those
    that do not, it holds :math:`|P_i|`, :math:`|N_i|`, :math:`|P_i \cap P_j|`
    and :math:`|P_i \cap N_j|`, and with the ratings :math:`r_{ui}`, each less
    its user's mean, :math:`\sum_u r_{ui} r_{uj}`. The matrices are dense, which
    is meant for up to some ten thousand items; files hold the interactions
    instead, from which all counts are made anew.

    Use :meth:`fit`; the constructor only makes room.

    Args:
        num_items (int): Rows in the table of items.
        num_users (int): Rows in the table of users.
        num_interactions (int): Interactions fitted on.
        rank (int, optional): Width of the item vectors. (default: :obj:`16`)
        folds (int, optional): User folds of the cross-fit. (default: :obj:`10`)
        damping (float, optional): Added to counts in denominators.
            (default: :obj:`10.0`)
        relevant (float, optional): Labels above it are likes.
            (default: :obj:`0.5`)
    """

    num_counts = len(BINS) + 4
    num_kernels = 5
    # Those that are inner products: both damped cosines of likes with likes and of
    # ratings, and the product of vectors.
    positive = (0, 3, 4)

    def __init__(
        self,
        num_items: int,
        num_users: int,
        num_interactions: int,
        rank: int = 16,
        folds: int = 10,
        damping: float = 10.0,
        relevant: float = 0.5,
    ) -> None:
        super().__init__()
        self.config = {
            'num_items': num_items,
            'num_users': num_users,
            'num_interactions': num_interactions,
            'rank': rank,
            'folds': folds,
            'damping': damping,
            'relevant': relevant,
        }
        self.num_items, self.num_users, self.rank = num_items, num_users, rank
        self.damping, self.relevant = damping, relevant
        self.register_buffer('key', torch.zeros(num_interactions, dtype=torch.long))
        self.register_buffer('label', torch.zeros(num_interactions))
        # One more, for every user beyond the table.
        self.register_buffer('fold', torch.full((num_users + 1,), folds))
        self.register_buffer('vector', torch.zeros(folds + 1, num_items, rank))
        self.count()
        self.register_load_state_dict_post_hook(lambda module, _: module.count())

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
        """Fits on all interactions of the given tasks, support and query alike.

        Raises:
            ValueError: If there are fewer users than folds, or users or items
                than :obj:`rank`.
        """
        user = episodes.user.unique()
        if not 2 <= folds <= len(user) or not 1 <= rank < min(len(user), num_items):
            raise ValueError(
                f"'folds' must be from 2 to the {len(user)} users (got {folds}), and "
                f"'rank' from 1 to below users and items (got {rank})"
            )
        self = cls(
            num_items, num_users, len(episodes.item), rank, folds, damping, relevant
        )
        row = torch.repeat_interleave(episodes.user, episodes.size)
        self.key, order = (row * num_items + episodes.item).sort()
        self.label = episodes.label[order].float()
        self.count()
        generator = torch.Generator().manual_seed(seed)
        shuffled = user[torch.randperm(len(user), generator=generator)]
        self.fold[shuffled] = torch.arange(len(user)) % folds
        like = self._sparse(torch.ones_like(self.label), self.label > relevant)
        reference = _vectors(like, rank, damping)
        self.vector[folds] = reference
        for fold in range(folds):
            rest = like[(self.fold[:-1] != fold).nonzero().flatten().numpy()]
            self.vector[fold] = _aligned(_vectors(rest, rank, damping), reference)
        self.vector /= reference.square().mean().sqrt().clamp(min=1e-12)
        return self

    @torch.no_grad()
    def count(self) -> None:
        """Makes all counts from the interactions, as after loading them."""
        device = self.key.device
        likes = (self.label > self.relevant).cpu()
        user = torch.div(self.key, self.num_items, rounding_mode='floor').cpu()
        label = self.label.cpu()
        size = torch.bincount(user, minlength=self.num_users)
        mean = torch.bincount(user, label, self.num_users) / size.clamp(min=1)
        centred = (label - mean.float()[user]).to(torch.float32)
        ones = torch.ones_like(label)
        like, dislike = self._sparse(ones, likes), self._sparse(ones, ~likes)
        rating = self._sparse(centred, torch.ones_like(likes))
        labels = self._sparse(label, torch.ones_like(likes))
        values = {
            'centred': centred,
            'like': _total(like),
            'dislike': _total(dislike),
            'total': _total(labels),
            'user_total': torch.bincount(user, label, self.num_users + 1),
            'grand_total': torch.bincount(user, label, self.num_users + 1).sum(),
            'user_size': torch.bincount(user, minlength=self.num_users + 1),
            'square': _total(rating.multiply(rating)),
            'together': _dense(like.T @ like, torch.int16),
            # [i, j]: who dislikes i and likes j.
            'against': _dense(dislike.T @ like, torch.int16),
            'covary': _dense(rating.T @ rating, torch.float32),
        }
        for name, value in values.items():
            self.register_buffer(name, value.to(device), persistent=False)

    def _sparse(self, value: Tensor, chosen: Tensor) -> scipy.sparse.csr_matrix:
        """Chosen interactions as a matrix of users and items."""
        import scipy.sparse

        key = self.key.cpu()[chosen].numpy()
        place = key // self.num_items, key % self.num_items
        shape = self.num_users, self.num_items
        return scipy.sparse.csr_matrix((value.cpu()[chosen].numpy(), place), shape)

    def own(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Where each task's user has met the items itself.

        Returns:
            A mask of the known pairs, :obj:`[B, L]`, and their positions among
            the interactions.
        """
        key = user[:, None] * self.num_items + item
        place = torch.searchsorted(self.key, key).clamp(max=len(self.key) - 1)
        return self.key[place] == key, place

    def mean(self, user: Tensor) -> Tensor:
        """The mean label of all other users, :obj:`[B]`."""
        user = user.clamp(max=self.num_users)
        total = self.grand_total - self.user_total[user]
        return total / (len(self.key) - self.user_size[user]).clamp(min=1)

    def forward(self, batch: EpisodeBatch, centred: bool = False) -> Evidence:
        """All evidence on a batch.

        Args:
            batch (EpisodeBatch): Its query labels are not read.
            centred (bool, optional): Expect of each label the item's damped mean,
                and the damped mean by which the support exceeds such means. Else
                expect the middle of 0 and 1. (default: :obj:`False`)
        """
        support = _Side(self, batch.user, batch.support_item)
        query = _Side(self, batch.user, batch.query_item)
        base = [torch.full_like(side.mean, 0.5) for side in (support, query)]
        if centred:
            excess = (batch.support_label - support.mean) * batch.support_mask
            count = batch.support_mask.sum(-1, keepdim=True) + MEAN_DAMPING
            offset = excess.sum(-1, keepdim=True) / count
            base = [side.mean + offset for side in (support, query)]
        return Evidence(
            support.vector,
            support.counts(),
            query.vector,
            query.counts(),
            self._kernel(query, support),
            self._kernel(support, support)[..., self.positive],
            *base,
        )

    def _kernel(self, query: _Side, support: _Side) -> Tensor:
        """Likeness of the items of a batch, :obj:`[B, Q, S, 5]`."""
        # Rows are support items here, so that a whole catalogue is contiguous.
        likes = query.likes[:, None, :].int()
        together = self._pairs('together', support.item, query.item)
        together = together - support.likes[:, :, None].int() * likes
        against = self._pairs('against', support.item, query.item)
        against = against - support.dislikes[:, :, None].int() * likes
        covary = self._pairs('covary', support.item, query.item)
        covary = covary - support.rating[:, :, None] * query.rating[:, None, :]
        sides = (side.known_of() for side in (query, support))
        return self._likeness(together, against, covary, *sides).permute(0, 3, 1, 2)

    def strangers(self, user: Tensor) -> Tensor:
        """Which users have no share in the statistics, :obj:`[B]`."""
        return self.user_size[user.clamp(max=self.num_users)] == 0

    def catalogue(self) -> Catalogue:
        """All items, as a stranger is told of them."""
        device = self.key.device
        stranger = torch.tensor([self.num_users], device=device)
        side = _Side(self, stranger, torch.arange(self.num_items, device=device)[None])
        return Catalogue(side.known_of(), side.counts()[0], side.mean[0])

    def catalogue_kernel(self, support: Tensor, items: ItemKnowledge) -> Tensor:
        """Likeness of all items to support items :obj:`[B, S]` of strangers.

        A stranger has no share to leave out, so rows of the matrices are read whole.

        Returns:
            As they lie in memory, :obj:`[B, S, 5, I]`.
        """
        flat = support.flatten()
        rows = (
            matrix.index_select(0, flat).view(*support.size(), -1).to(self.covary.dtype)
            for matrix in (self.together, self.against, self.covary)
        )
        chosen = ItemKnowledge(*(value[0, support] for value in items))
        return self._likeness(*rows, items, chosen)

    def _likeness(
        self,
        together: Tensor,
        against: Tensor,
        covary: Tensor,
        query: ItemKnowledge,
        support: ItemKnowledge,
    ) -> Tensor:
        r"""Five likenesses of item pairs, :obj:`[B, S, 5, Q]`.

        Damped cosine of common likes and the logarithm of their number, damped
        cosine of likes of the one with dislikes of the other, damped cosine of
        ratings, each less its user's mean, and product of the item vectors.
        """
        kernel = covary.new_empty(*covary.size()[:2], self.num_kernels, covary.size(2))
        parts = kernel.unbind(2)

        def cosine(product: Tensor, one: Tensor, other: Tensor, out: Tensor) -> None:
            one, other = ((n + self.damping).rsqrt() for n in (one, other))
            torch.mul(product, COSINE_SCALE * one[:, :, None], out=out)
            out *= other[:, None, :]

        cosine(together, support.like, query.like, parts[0])
        torch.log1p(together, out=parts[1])
        cosine(against, support.dislike, query.like, parts[2])
        cosine(covary, support.square, query.square, parts[3])
        vector = support.vector / self.rank
        torch.matmul(vector, query.vector.mT, out=parts[4])
        return kernel

    def _pairs(self, name: str, support: Tensor, query: Tensor) -> Tensor:
        """Entries of a matrix, :obj:`[B, S, Q]`."""
        matrix = getattr(self, name)
        if query.size(1) * 4 < self.num_items:
            return matrix[support[:, :, None], query[:, None, :]]
        # Most of a row is asked for: read it whole.
        rows = matrix.index_select(0, support.flatten()).view(*support.size(), -1)
        return rows.gather(2, query[:, None, :].expand(-1, support.size(1), -1))


class _Side:
    """The items of one side of a batch, as other users see them; all [B, L]."""

    def __init__(self, table: InteractionStatistics, user: Tensor, item: Tensor):
        known, place = table.own(user, item)
        label = table.label[place]
        self.item = item
        # What the user itself has contributed ...
        self.likes = known & (label > table.relevant)
        self.dislikes = known & ~self.likes
        self.rating = table.centred[place] * known
        # ... and what is left without it.
        self.like = table.like[item] - self.likes.float()
        self.dislike = table.dislike[item] - self.dislikes.float()
        self.square = (table.square[item] - self.rating.square()).clamp(min=0)
        mean = table.mean(user)[:, None]
        count = self.like + self.dislike
        total = table.total[item] - label * known
        self.deviation = (total - count * mean) / (count + MEAN_DAMPING)
        self.mean = mean + self.deviation
        fold = table.fold[user.clamp(max=table.num_users)]
        self.vector = table.vector[fold[:, None], item]

    def known_of(self) -> ItemKnowledge:
        return ItemKnowledge(self.like, self.dislike, self.square, self.vector)

    def counts(self) -> Tensor:
        """Popularity: an indicator of the bin, logarithms, the mean label."""
        bins = torch.tensor(BINS, dtype=self.like.dtype, device=self.like.device)
        # As one-hots, without the checks that those come with.
        every = torch.arange(len(BINS) + 1, device=bins.device)
        indicator = torch.bucketize(self.like, bins)[..., None] == every
        numbers = [self.like.log1p(), self.dislike.log1p(), self.deviation]
        return torch.cat([indicator, torch.stack(numbers, dim=-1)], dim=-1)


def _total(matrix: scipy.sparse.csr_matrix) -> Tensor:
    return torch.from_numpy(np.asarray(matrix.sum(0)).ravel()).float()


def _dense(matrix: scipy.sparse.csr_matrix, dtype: torch.dtype) -> Tensor:
    matrix = matrix.tocoo()
    value = torch.zeros(matrix.shape, dtype=dtype)
    value[matrix.row, matrix.col] = torch.from_numpy(matrix.data).to(dtype)
    return value


def _vectors(like: scipy.sparse.csr_matrix, rank: int, damping: float) -> Tensor:
    r"""Item vectors of a truncated SVD of :math:`X \mathrm{diag}(|P_i| + d)^{-1/2}`."""
    import scipy.sparse
    from scipy.sparse.linalg import svds

    like = like.astype(np.float64)
    weight = scipy.sparse.diags(1 / np.sqrt(np.asarray(like.sum(0)).ravel() + damping))
    # A fixed start makes the solver repeat exactly.
    _, value, right = svds(like @ weight, k=rank, v0=np.ones(min(like.shape)))
    return torch.from_numpy((right.T * value).copy()).float()


def _aligned(vector: Tensor, reference: Tensor) -> Tensor:
    """The vectors, rotated onto the reference (orthogonal Procrustes)."""
    left, _, right = torch.linalg.svd(vector.t() @ reference)
    return vector @ (left @ right)
