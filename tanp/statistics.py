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

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from agnn_pyg.base.config import PositiveFloat, PositiveInt, check_argument
from tanp.episodes import Episodes, offsets, ragged
from tanp.evidence import BINS, Catalogue, Evidence, Told, surplus
from tanp.item_vectors import aligned, item_vectors
from tanp.loader import EpisodeBatch
from tanp.nn.rows import Rows, rows_of
from tanp.tally import Tally, beyond, packed

if TYPE_CHECKING:
    import scipy.sparse

# Brings damped cosines, which rarely exceed a fifth, to the size of a logarithm.
COSINE_SCALE = 5.0


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
        self.register_load_state_dict_post_hook(_count)

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
                than :obj:`rank`, a row lies beyond its table, or a user has met an
                item twice.
        """
        for name, value in (('rank', rank), ('folds', folds)):
            check_argument(name, value, PositiveInt)
        check_argument('damping', damping, PositiveFloat)
        user = episodes.user.unique()
        if not 2 <= folds <= len(user) or not 1 <= rank < min(len(user), num_items):
            raise ValueError(
                f"'folds' must be from 2 to the {len(user)} users (got {folds}), and "
                f"'rank' from 1 to below users and items (got {rank})"
            )
        self = cls(
            num_items, num_users, len(episodes.item), rank, folds, damping, relevant
        )
        for name, count in (('user', num_users), ('item', num_items)):
            last = int(getattr(episodes, name).max())
            if last >= count:
                raise ValueError(
                    f"'num_{name}s' must cover the {name} rows of 'episodes', up to "
                    f'{last} (got {count})'
                )
        row = torch.repeat_interleave(episodes.user, episodes.size)
        self.key, order = (row * num_items + episodes.item).sort(stable=True)
        _check_distinct(self.key, order, num_items)
        self.label = episodes.label[order].float()
        self.count()
        self._deal(seed)
        return self

    def dealt(self, seed: int) -> InteractionStatistics:
        """The same statistics, with users dealt into folds anew. Counts are shared."""
        made = copy.deepcopy(self)
        made._deal(seed)
        return made

    def share(self, other: InteractionStatistics) -> None:
        """Takes counts from others in place of its own, if they are of the same."""
        if self.relevant == other.relevant and all(
            torch.equal(getattr(self, name), getattr(other, name))
            for name in ('key', 'label')
        ):
            self.tally = other.tally

    def _deal(self, seed: int) -> None:
        """Deals users into folds, and fits vectors without each."""
        folds, rank, damping = self.config['folds'], self.rank, self.damping
        user = self.tally.user_size.nonzero().flatten()
        generator = torch.Generator().manual_seed(seed)
        shuffled = user[torch.randperm(len(user), generator=generator)]
        self.fold[shuffled] = torch.arange(len(user)) % folds
        like = self._sparse(torch.ones_like(self.label), self.label > self.relevant)
        reference = item_vectors(like, rank, damping)
        self.vector[folds] = reference
        for fold in range(folds):
            rest = like[(self.fold[:-1] != fold).nonzero().flatten().numpy()]
            self.vector[fold] = aligned(item_vectors(rest, rank, damping), reference)
        self.vector /= reference.square().mean().sqrt().clamp(min=1e-12)

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
        user_total = torch.bincount(user, label, self.num_users + 1)
        # [i, j]: who dislikes i and likes j comes second.
        counts = like.T @ like, dislike.T @ like
        many, many_counts = beyond(*counts)
        tally = Tally(
            like=_total(like),
            dislike=_total(dislike),
            total=_total(labels),
            centred=centred,
            square=_total(rating.multiply(rating)),
            user_total=user_total,
            user_size=torch.bincount(user, minlength=self.num_users + 1),
            grand_total=user_total.sum(),
            pair=packed(*counts, rating.T @ rating),
            many=many,
            many_counts=many_counts,
        )
        self.tally = Tally(*(value.to(device) for value in tally))

    def _apply(self, fn: Callable, recurse: bool = True) -> InteractionStatistics:
        # The tally is no buffer: what averages or broadcasts models would copy it.
        super()._apply(fn, recurse)
        self.tally = Tally(*map(fn, self.tally))
        return self

    def _sparse(self, value: Tensor, chosen: Tensor) -> scipy.sparse.csr_matrix:
        """Chosen interactions as a matrix of users and items."""
        import scipy.sparse

        key = self.key.cpu()[chosen].numpy()
        place = key // self.num_items, key % self.num_items
        shape = self.num_users, self.num_items
        return scipy.sparse.csr_matrix((value.cpu()[chosen].numpy(), place), shape)

    def own(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Where users have met items themselves.

        Returns:
            A mask of the known pairs, :obj:`[R]`, and their positions among the
            interactions.
        """
        key = user * self.num_items + item
        place = torch.searchsorted(self.key, key).clamp(max=len(self.key) - 1)
        return self.key[place] == key, place

    def mean(self, user: Tensor) -> Tensor:
        """The mean label of all other users, :obj:`[R]`."""
        user = user.clamp(max=self.num_users)
        total = self.tally.grand_total - self.tally.user_total[user]
        return total / (len(self.key) - self.tally.user_size[user]).clamp(min=1)

    def strangers(self, user: Tensor) -> Tensor:
        """Which users have no share in the statistics, :obj:`[B]`."""
        row = user.clamp(max=self.num_users)
        return self.tally.user_size.index_select(0, row) == 0

    def forward(self, batch: EpisodeBatch, centred: bool = False) -> Evidence:
        """All evidence on a batch.

        Args:
            batch (EpisodeBatch): Its query labels are not read.
            centred (bool, optional): Expect of each label the item's damped mean,
                and the damped mean by which the support exceeds such means. Else
                expect the middle of 0 and 1. (default: :obj:`False`)
        """
        support, query = rows_of(batch.support_mask), rows_of(batch.query_mask)
        task = torch.cat([support.task, query.task])
        parts = support.take(batch.support_item), query.take(batch.query_item)
        told = Told(self, batch.user[task], torch.cat(parts))
        base = torch.full_like(told.mean, 0.5)
        if centred:
            size = len(support.task)
            excess = support.take(batch.support_label) - told.mean[:size]
            base = told.mean + surplus(excess, support)[task]
        kernel = self._kernel(told, support, query, len(support.task))
        among = self._kernel(told, support, support, 0)[..., self.positive]
        return Evidence(told.vector, told.counts(), base, kernel, among)

    def _kernel(self, told: Told, support: Rows, query: Rows, first: int) -> Tensor:
        """Likeness of the items of a batch, :obj:`[B, Q, S, 5]`.

        What is told of the support comes first, and of the query from :obj:`first` on.
        """
        size = torch.bincount(support.task, minlength=support.num_tasks)
        start, size = (n[query.task] for n in (offsets(size)[:-1], size))
        one, other = ragged(start, size), torch.repeat_interleave(size)
        likeness = self._likeness(told, one, other + first)

        # Rows are support items here, so that a whole catalogue is contiguous.
        kernel = told.vector.new_zeros(
            support.num_tasks, support.num_slots, self.num_kernels, query.num_slots
        )
        kernel[support.task[one], support.slot[one], :-1, query.slot[other]] = likeness
        vector = support.pad(told.vector[: len(support.task)] / self.rank)
        others = query.pad(told.vector[first : first + len(query.task)])
        torch.matmul(vector, others.mT, out=kernel[:, :, -1])
        return kernel.permute(0, 3, 1, 2)

    def catalogue(self) -> Catalogue:
        """All items, as a stranger is told of them."""
        every = torch.arange(self.num_items, device=self.key.device)
        told = Told(self, torch.full_like(every, self.num_users), every)
        one, other = self.tally.pair.nonzero(as_tuple=True)
        ptr = offsets(torch.bincount(one, minlength=self.num_items))
        likeness = self._likeness(told, one, other)
        return Catalogue(told.vector, told.counts(), told.mean, ptr, other, likeness)

    def _likeness(self, told: Told, one: Tensor, other: Tensor) -> Tensor:
        r"""Four likenesses of pairs of rows, :obj:`[P, 4]`.

        Damped cosine of common likes and the logarithm of their number, damped
        cosine of likes of the other with dislikes of the one, and damped cosine of
        ratings, each less its user's mean. The fifth is the product of item vectors.
        """
        together, against, covary = self.tally.of(
            told.item[one], told.item[other], told.vector.dtype
        )
        # Without what the own user adds, where it has met both.
        likes = told.likes[other]
        together = together - told.likes[one] * likes
        against = against - told.dislikes[one] * likes
        covary = covary - told.rating[one] * told.rating[other]

        like, dislike, square = (
            (count + self.damping).rsqrt()
            for count in (told.like, told.dislike, told.square)
        )
        cosines = [
            product * (COSINE_SCALE * mine[one]) * theirs[other]
            for product, mine, theirs in (
                (together, like, like),
                (against, dislike, like),
                (covary, square, square),
            )
        ]
        return torch.stack([cosines[0], together.log1p(), *cosines[1:]], dim=-1)


def _count(module: InteractionStatistics, _: object) -> None:
    """What loading a state ends with: a function by name, as pickles need one."""
    module.count()


def _check_distinct(key: Tensor, order: Tensor, num_items: int) -> None:
    """What a user adds is left out by looking it up, where it must be but once."""
    repeated = (key[1:] == key[:-1]).nonzero().flatten() + 1
    if len(repeated):
        user, item = divmod(int(key[repeated[0]]), num_items)
        raise ValueError(
            f"'episodes' hold user {user} and item {item} for the second time in "
            f'interaction {int(order[repeated[0]])}, one of {len(repeated):,} repeats; '
            f"keep one, for instance by .drop_duplicates(['user', 'item'])"
        )


def _total(matrix: scipy.sparse.csr_matrix) -> Tensor:
    return torch.from_numpy(np.asarray(matrix.sum(0)).ravel()).float()
