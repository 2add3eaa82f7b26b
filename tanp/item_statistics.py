r"""Item statistics of other users' interactions, with the leave-one-user-out rule.

:class:`~tanp.AttentiveTaNP` reads popularity, expected labels, item vectors and item
kernels that are computed from interactions :math:`(v, i, r_{vi})` of training users.
These users are also the tasks that it learns from, so there is one rule: **no input of
a task of user** :math:`u` **depends on the interactions of** :math:`u` **in these
statistics.** Sums over users skip :math:`v = u` exactly; item vectors are cross-fitted.
A user without interactions here, such as any new user, has nothing to skip. The labels
of a query are never read.

Let :math:`P_i` be the users :math:`v \neq u` with a label of item :math:`i` above a
threshold (likes), :math:`N_i` the others with a label of :math:`i`, :math:`p_i` and
:math:`n_i` their numbers, :math:`m` the mean label of all users except :math:`u`, and
:math:`\tilde r_{vi} = r_{vi} - \bar r_v` a label less its user's mean. Damping is
:math:`\lambda = 10` for kernels and :math:`\kappa = 5` for means.

**Damped mean** of an item, and its deviation from :math:`m`:

.. math::
    \mu_i = m + d_i, \quad d_i = \frac{\sum_{v \neq u} (r_{vi} - m)}{p_i + n_i + \kappa}

**Expected label** and residual in a task with support :math:`S` and labels :math:`y`:

.. math::
    \hat y_i = \mu_i + \frac{\sum_{j \in S} (y_j - \mu_j)}{|S| + \kappa}, \quad
    \rho_j = y_j - \hat y_j

for ratings; for labels 0 and 1 :math:`\hat y_i = 1/2` and :math:`\rho_j = 2 y_j - 1`.

**Popularity** :math:`\mathbf{p}_i`: an indicator of the bin of :math:`p_i` (zero has
its own), :math:`\ln(1 + p_i)`, :math:`\ln(1 + n_i)` and :math:`d_i`.

**Kernels** of a query item :math:`i` and a support item :math:`j`, of which the last
three are Gram matrices, scaled by item, and so positive semi-definite:

.. math::
    e^1_{ij} = \ln(1 + |P_i \cap P_j|), \;
    e^2_{ij} = \frac{5 \, |P_i \cap N_j|}{\sqrt{(p_i + \lambda)(n_j + \lambda)}}, \;
    e^3_{ij} = \frac{5 \, |P_i \cap P_j|}{\sqrt{(p_i + \lambda)(p_j + \lambda)}},

.. math::
    e^4_{ij} = \frac{5 \sum_{v \neq u} \tilde r_{vi} \tilde r_{vj}}
    {\sqrt{(q_i + \lambda)(q_j + \lambda)}} \text{ with }
    q_i = \sum_{v \neq u} \tilde r_{vi}^2, \quad
    e^5_{ij} = \frac{1}{R} \langle \mathbf{v}_i, \mathbf{v}_j \rangle

**Item vectors** :math:`\mathbf{v}_i` are the right factors, times singular values, of a
truncated SVD of rank :math:`R` of :math:`\mathbf{X} \, \mathrm{diag}(p_i +
\lambda)^{-1/2}`, with :math:`X_{vi} = 1` for likes. Users are split into folds. A user
reads vectors that are fitted without its fold and rotated onto those of all users
(orthogonal Procrustes), which users without interactions read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tanp.episodes import Episodes, ragged

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Upper bounds of the bins of an item's likes.
BINS = (0, 1, 2, 4, 8, 16, 32)
# The last NUM_PSD kernels are positive semi-definite.
NUM_POPULARITY, NUM_KERNELS, NUM_PSD = len(BINS) + 4, 5, 3
MEAN_DAMPING = 5.0
# Damped cosines rarely exceed a fifth.
COSINE_SCALE = 5.0
# Items whose co-occurrences are counted at a time.
BLOCK = 4096
# A row beyond any table: a user without interactions.
NOBODY = 2**31


class ItemFeatures(NamedTuple):
    """Items :obj:`[B, n]`, as seen without the interactions of B users."""

    item: Tensor  # rows
    own: Tensor  # what is skipped: likes, dislikes, r~ of the user, [B, n, 3]
    scale: Tensor  # (p + damping)^(-1/2), likewise of n and q, [B, n, 3]
    mean: Tensor  # damped means
    popularity: Tensor  # [B, n, NUM_POPULARITY]
    vector: Tensor  # [B, n, R]


@dataclass(frozen=True, eq=False, repr=False)
class ItemStatistics:
    """Statistics of items, see the head of this file. Use :meth:`fit`.

    They are immutable: models and threads may share them. Totals are over all users;
    pairs of items without a common user have no entry.
    """

    damping: float
    key: Tensor  # M interactions as u I + i, ascending
    own: Tensor  # like, dislike and r~ of each, [M, 3]
    label: Tensor  # [M]
    item_total: Tensor  # p, n, q and the sum of labels, [I, 4]
    user_total: Tensor  # sum and number of labels, last those of no user, [U + 1, 2]
    total: Tensor  # sum and number of all labels, [2]
    pair_key: Tensor  # pairs with a common user as j I + i, ascending
    pair_total: Tensor  # |Pi and Pj|, |Pi and Nj| and the sum of r~i r~j, [pairs, 3]
    fold: Tensor  # of each user, [U + 1]
    vector: Tensor  # without each fold, the last of all users, [folds + 1, I, R]
    row: Tensor | None = None  # of users who are numbered otherwise, see `for_users`

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
        threshold: float = 0.5,
        seed: int = 0,
    ) -> ItemStatistics:
        """Counts all interactions of some tasks, support and query alike.

        Item vectors have width :obj:`rank` and are cross-fitted over :obj:`folds` of
        users, which :obj:`seed` draws; labels above :obj:`threshold` are likes.
        """
        users = len(episodes.user.unique())
        most = min(num_items, num_users - -(-users // folds)) - 1
        if not 2 <= folds <= users or not 1 <= rank <= most:
            raise ValueError(
                f"'folds' must be from 2 to the {users} users (got {folds}), and "
                f"'rank' from 1 to {most} (got {rank})"
            )
        user = torch.repeat_interleave(episodes.user, episodes.size)
        key, order = (user * num_items + episodes.item).sort(stable=True)
        # Interactions are skipped by looking them up, so each must be there once.
        repeated = order[1:][key[1:] == key[:-1]]
        if len(repeated):
            raise ValueError(
                f"'episodes' must hold each pair of user and item once (got user "
                f'{int(user[repeated[0]])} and item {int(episodes.item[repeated[0]])} '
                f'again in interaction {int(repeated[0])}); drop repeats'
            )
        user, item, label = user[order], episodes.item[order], episodes.label[order]
        label, liked = label.float(), label > threshold
        size = torch.bincount(user, minlength=num_users + 1).double()
        total = torch.bincount(user, label.double(), num_users + 1)
        centered = label - (total / size.clamp(min=1)).float()[user]
        own = torch.stack([liked.float(), (~liked).float(), centered], dim=-1)
        columns = [*own[:, :2].unbind(-1), centered.square(), label]
        columns = [torch.bincount(item, v.double(), num_items) for v in columns]
        shape = num_users, num_items
        pairs = (_matrix((user, item), value, shape) for value in own.unbind(-1))
        pairs = [*map(torch.from_numpy, _co_occurrences(*pairs))]
        made = cls(
            damping=damping,
            key=key,
            own=own,
            label=label,
            item_total=torch.stack(columns, dim=-1).float(),
            user_total=torch.stack([total, size], dim=-1).float(),
            total=torch.stack([total.sum(), size.sum()]).float(),
            pair_key=pairs[0],
            pair_total=pairs[1],
            fold=torch.zeros(num_users + 1, dtype=torch.long),
            vector=torch.zeros(folds + 1, num_items, rank),
        )
        return made.resample(seed)

    def resample(self, seed: int) -> ItemStatistics:
        """The same counts, which are shared, with other folds and item vectors."""
        num_users, (folds, _, rank) = len(self.fold) - 1, self.vector.size()
        folds -= 1
        user = self.user_total[:, 1].nonzero().flatten()
        generator = torch.Generator().manual_seed(seed)
        fold = torch.full_like(self.fold, folds)
        shuffled = user[torch.randperm(len(user), generator=generator)]
        fold[shuffled] = torch.arange(len(user)) % folds
        rows = self.key // self.num_items, self.key % self.num_items
        like = _matrix(rows, self.own[:, 0], (num_users, self.num_items))
        reference = _item_vectors(like, rank, self.damping)
        vectors = []
        for number in range(folds):
            rest = like[(fold[:-1] != number).numpy()]
            vector = _item_vectors(rest, rank, self.damping)
            left, _, right = torch.linalg.svd(vector.t() @ reference)
            vectors.append(vector @ (left @ right))
        vector = torch.stack([*vectors, reference])
        vector /= reference.square().mean().sqrt().clamp(min=1e-12)
        return dataclasses.replace(self, fold=fold, vector=vector)

    def with_items(self, count: int) -> ItemStatistics:
        """These statistics with further items that nobody has interacted with."""
        old, new = self.num_items, self.num_items + count
        keys = (k // old * new + k % old for k in (self.key, self.pair_key))
        total = F.pad(self.item_total, (0, 0, 0, count))
        vector = F.pad(self.vector, (0, 0, 0, count))
        names = 'key', 'pair_key', 'item_total', 'vector'
        values = zip(names, (*keys, total, vector), strict=True)
        return dataclasses.replace(self, **dict(values))

    def for_users(self, row: Tensor) -> ItemStatistics:
        """These statistics for users numbered from 0, by their rows."""
        return dataclasses.replace(self, row=F.pad(row, (0, 1), value=NOBODY))

    @property
    def num_items(self) -> int:
        return len(self.item_total)

    @property
    def rank(self) -> int:
        return self.vector.size(-1)

    def has_interactions(self, user: Tensor) -> Tensor:
        """Which users have interactions in the statistics, :obj:`[B]`."""
        return self.user_total[self._rows(user), 1] > 0

    def _rows(self, user: Tensor) -> Tensor:
        """Rows of users; that of no user is the last."""
        if self.row is not None:
            user = self.row[user.clamp(max=len(self.row) - 1)]
        return user.clamp(max=len(self.fold) - 1)

    def features(self, user: Tensor, item: Tensor) -> ItemFeatures:
        """Features of items :obj:`[B, n]`, without what users :obj:`[B]` add to them.

        A row beyond the table of users is a user without interactions.
        """
        user = self._rows(user)[:, None]
        key = user * self.num_items + item
        place = torch.searchsorted(self.key, key).clamp(max=len(self.key) - 1)
        known = self.key[place] == key
        own, label = self.own[place] * known[..., None], self.label[place] * known

        total = self.item_total[item]
        counts = total[..., :2] - own[..., :2]
        square = (total[..., 2:3] - own[..., 2:].square()).clamp(min=0)
        labels, number = (self.total - self.user_total[user]).unbind(-1)
        mean, count = labels / number.clamp(min=1), counts.sum(-1)
        deviation = total[..., 3] - label - count * mean
        deviation = deviation / (count + MEAN_DAMPING)

        edges = torch.tensor(BINS, dtype=counts.dtype).to(counts.device)
        bins = torch.bucketize(counts[..., :1].contiguous(), edges)
        indicator = bins == torch.arange(len(BINS) + 1, device=bins.device)
        popularity = [indicator, counts.log1p(), deviation[..., None]]
        return ItemFeatures(
            item=item,
            own=own,
            scale=(torch.cat([counts, square], dim=-1) + self.damping).rsqrt(),
            mean=mean + deviation,
            popularity=torch.cat(popularity, dim=-1),
            vector=self.vector[self.fold[user], item],
        )

    def kernels(self, query: ItemFeatures, support: ItemFeatures) -> Tensor:
        """All kernels of query and support items, :obj:`[B, S, NUM_KERNELS, Q]`."""
        # size = [B, S, Q]
        key = support.item[:, :, None] * self.num_items + query.item[:, None]
        place = torch.searchsorted(self.pair_key, key).clamp(max=len(self.pair_key) - 1)
        total = self.pair_total[place] * (self.pair_key[place] == key)[..., None]
        liked, disliked, mine = (v[:, :, None] for v in support.own.unbind(-1))
        likes, _, others = (v[:, None] for v in query.own.unbind(-1))
        own = torch.stack([liked * likes, disliked * likes, mine * others], dim=-1)
        scales = support.scale[:, :, None], query.scale[:, None]
        last = support.vector @ query.vector.mT / self.rank
        return torch.stack([*_sparse_kernels(total - own, *scales), last], dim=2)

    def co_occurring(
        self, support: ItemFeatures, catalogue: ItemFeatures
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The kernels except the last, which are zero for items without common users.

        It gives the number of other items of each of the :math:`B S` support items (of
        users without interactions), these items, and the kernels,
        :obj:`[NUM_KERNELS - 1, pairs]`.
        """
        item = support.item.flatten()
        bounds = torch.stack([item, item + 1]) * self.num_items
        start, end = torch.searchsorted(self.pair_key, bounds)
        size = end - start
        slot, place = torch.repeat_interleave(size), ragged(start, size)
        other = self.pair_key.index_select(0, place) % self.num_items
        scale = support.scale.flatten(0, 1).index_select(0, slot)
        scales = scale, catalogue.scale[0].index_select(0, other)
        pair = self.pair_total.index_select(0, place)
        return size, other, torch.stack(_sparse_kernels(pair, *scales))

    def apply(self, function: Callable[[Tensor], Tensor]) -> ItemStatistics:
        """These statistics after a function of each tensor, such as a device move."""
        tensors = {name: function(value) for name, value in self.state_dict().items()}
        return dataclasses.replace(self, **tensors)

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors by name, arguments of the constructor."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}


def _sparse_kernels(pair: Tensor, support: Tensor, query: Tensor) -> list[Tensor]:
    """The kernels 1 to 4, from totals of pairs and scales of their items."""
    both, apart, product = pair.unbind(-1)
    like, dislike, square = (support * COSINE_SCALE).unbind(-1)
    likes, _, squares = query.unbind(-1)
    cosines = [apart * dislike * likes, both * like * likes, product * square * squares]
    return [both.log1p(), *cosines]


def _matrix(rows: Any, value: Tensor, shape: tuple[int, int]) -> csr_matrix:
    from scipy.sparse import csr_matrix

    chosen = value.nonzero().flatten()
    entries = value[chosen].numpy(), tuple(row[chosen].numpy() for row in rows)
    return csr_matrix(entries, shape=shape)


def _co_occurrences(
    like: csr_matrix, dislike: csr_matrix, centered: csr_matrix
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and totals of the pairs of items with a common user, by blocks of items."""
    rated, num_items = like + dislike, like.shape[1]
    keys, totals = [], []
    for start in range(0, num_items, BLOCK):
        block = slice(start, start + BLOCK)
        # All other pairs are zero in the products.
        pattern = (rated[:, block].T @ rated).tocoo()
        key = np.sort(pattern.row.astype(np.int64) * num_items + pattern.col)
        total = np.zeros((len(key), 3), np.float32)
        products = (like, like), (dislike, like), (centered, centered)
        for column, (left, right) in enumerate(products):
            product = (left[:, block].T @ right).tocoo()
            place = product.row.astype(np.int64) * num_items + product.col
            total[np.searchsorted(key, place), column] = product.data
        keys.append(key + start * num_items)
        totals.append(total)
    return np.concatenate(keys), np.concatenate(totals)


def _item_vectors(like: csr_matrix, rank: int, damping: float) -> Tensor:
    from scipy.sparse import diags
    from scipy.sparse.linalg import svds

    like = like.astype(np.float64)
    weight = diags(1 / np.sqrt(np.asarray(like.sum(0)).ravel() + damping))
    # A fixed start makes the solver repeat exactly.
    _, value, right = svds(like @ weight, k=rank, v0=np.ones(min(like.shape)))
    return torch.from_numpy((right.T * value).copy()).float()
