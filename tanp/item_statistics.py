r"""Leave-one-user-out item statistics.

:class:`~tanp.AttentiveTaNP` reads popularity, expected labels, item vectors and item
kernels. They are computed from interactions :math:`(v, i, r_{vi})` of training users,
who are also the training tasks. To avoid target leakage, **no input of a task of user**
:math:`u` **depends on the interactions of** :math:`u` **in these statistics**. Sums
over users exclude :math:`v = u` exactly, and item vectors are cross-fitted. A user
without interactions in the statistics needs no exclusion. Query labels are never read.

Let :math:`P_i` be the users :math:`v \neq u` with a label of item :math:`i` above a
threshold (likes), :math:`N_i` the other users with a label of :math:`i`, :math:`p_i`
and :math:`n_i` their numbers, :math:`m` the mean label of all users except :math:`u`,
and :math:`\tilde r_{vi} = r_{vi} - \bar r_v` a label minus its user's mean. Damping is
:math:`\lambda = 10` for kernels and :math:`\kappa = 5` for means.

**Damped mean** of an item, and its deviation from :math:`m`:

.. math::
    \mu_i = m + d_i, \quad d_i = \frac{\sum_{v \neq u} (r_{vi} - m)}{p_i + n_i + \kappa}

**Expected label** and residual in a task with support :math:`S` and labels :math:`y`:

.. math::
    \hat y_i = \mu_i + \frac{\sum_{j \in S} (y_j - \mu_j)}{|S| + \kappa}, \quad
    \rho_j = y_j - \hat y_j

for ratings. For labels 0 and 1, :math:`\hat y_i = 1/2` and :math:`\rho_j = 2 y_j - 1`.
For weights of implicit feedback, :math:`\rho_j = y_j` if positive, else -1.

**Popularity** :math:`\mathbf{p}_i`: a one-hot bin of :math:`p_i` (zero has its own
bin), :math:`\ln(1 + p_i)`, :math:`\ln(1 + n_i)` and :math:`d_i`.

**Kernels** of a query item :math:`i` and a support item :math:`j`. The last three are
Gram matrices, scaled by item, and therefore positive semi-definite:

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
\lambda)^{-1/2}`, with :math:`X_{vi} = 1` for likes. Users are split into folds. The
vectors for a user are fitted without its fold and rotated onto the vectors of all users
(orthogonal Procrustes). Users without interactions use the vectors of all users, whose
root mean square divides all vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from agnn_pyg.base.linalg import right_factors, unit_rows
from agnn_pyg.base.ranking import highest
from tanp.config import StatisticsConfig
from tanp.episodes import Episodes, ragged

# Upper bounds of the bins of an item's likes.
BINS = (0, 1, 2, 4, 8, 16, 32)
MEAN_DAMPING = 5.0
# Damped cosines rarely exceed a fifth.
COSINE_SCALE = 5.0
# Items per block when co-occurrences are counted.
BLOCK = 4096
# Item vectors of all folds, and pairs of items with a common user, must fit in memory.
MAX_ITEMS = 300_000
# Stand-ins of an item without interactions, and cosines that are computed at once.
NEIGHBORS, MAX_ENTRIES = 20, 2**24
# The key of a pair is STRIDE times its first row, plus its second row.
STRIDE = 2**31


class ItemFeatures(NamedTuple):
    """Features of items :obj:`[B, n]`, without the interactions of B users."""

    item: Tensor  # rows
    own: Tensor  # excluded likes, dislikes and r~ of the user, [B, n, 3]
    scale: Tensor  # (x + damping)^(-1/2) for x = p, n and q, [B, n, 3]
    mean: Tensor  # damped means
    popularity: Tensor  # [B, n, num_popularity]
    vector: Tensor  # [B, n, R]


@dataclass(frozen=True, eq=False, repr=False)
class ItemStatistics:
    """Leave-one-user-out item statistics, made by :meth:`fit`.

    The module docstring has the formulas. Instances are immutable and may be shared.
    Totals are over all users; pairs of items without a common user have no entry.
    """

    num_popularity: ClassVar[int] = len(BINS) + 4
    num_kernels: ClassVar[int] = 5
    num_psd: ClassVar[int] = 3  # the last ones are positive semi-definite
    damping: float
    key: Tensor  # M interactions of users and items, ascending
    own: Tensor  # like, dislike, r~ and label of each, [M, 4]
    item_total: Tensor  # p, n, q and the sum of labels, [I, 4]
    user_total: Tensor  # sum and number of labels, zero in the last row, [U + 1, 2]
    total: Tensor  # sum and number of all labels, [2]
    pair_key: Tensor  # pairs of items with a common user, ascending
    pair_total: Tensor  # |Pi and Pj|, |Pi and Nj| and the sum of r~i r~j, [pairs, 3]
    fold: Tensor  # of each user, [U + 1]
    vector: Tensor  # without each fold, then of all users, [folds + 1, I, R]
    row: Tensor | None = None  # rows here of users, if a model numbers them otherwise
    # For U items without interactions: their rows, [U], the rows of their stand-ins,
    # [U, K], and the weights of the stand-ins, [U, K]; see `with_unseen`.
    unseen: Tensor | None = None
    stand_in: Tensor | None = None
    stand_weight: Tensor | None = None

    @classmethod
    def fit(
        cls,
        episodes: Episodes,
        num_items: int,
        num_users: int,
        threshold: float = 0.5,
        seed: int = 0,
        **options: Any,
    ) -> ItemStatistics:
        """Computes the statistics of all interactions of tasks, support and query.

        Labels above :obj:`threshold` are likes, and :obj:`seed` draws the folds.
        Options are those of :class:`~tanp.config.StatisticsConfig`; rank and folds are
        reduced if there are too few users or items.
        """
        config = StatisticsConfig(**options)
        users = len(episodes.user.unique())
        folds = min(config.folds, users)
        rank = min(config.rank, num_items - 1, users - -(-users // max(1, folds)) - 1)
        if rank < 1 or num_items > MAX_ITEMS:
            raise ValueError(
                f"'ratings' must have at least three users, or four with two 'folds', "
                f'and 2 to {MAX_ITEMS:,} items (got {users:,} users and '
                f'{num_items:,} items); add ratings of others, drop rare items, or set '
                f"'model' to 'TaNP'"
            )
        user = torch.repeat_interleave(episodes.user, episodes.size)
        key, order = (user * STRIDE + episodes.item).sort(stable=True)
        # Exclusion looks up each interaction by its key, so keys must be distinct.
        repeated = order[1:][key[1:] == key[:-1]]
        if len(repeated):
            raise ValueError(
                f"'episodes' must hold each pair of user and item once (got user "
                f'{int(user[repeated[0]])} and item {int(episodes.item[repeated[0]])} '
                f'again in interaction {int(repeated[0])}); drop duplicates'
            )
        user, item, label = user[order], episodes.item[order], episodes.label[order]
        label, liked = label.float(), label > threshold
        size = torch.bincount(user, minlength=num_users + 1).double()
        total = torch.bincount(user, label.double(), num_users + 1)
        centered = label - (total / size.clamp(min=1)).float()[user]
        own = torch.stack([liked, ~liked, centered, label], dim=-1)
        parts = liked, ~liked, centered.square(), label
        totals = [torch.bincount(item, part.double(), num_items) for part in parts]
        shape = num_users, num_items
        pairs = (_matrix(key, part, shape) for part in own[:, :3].unbind(-1))
        made = cls(
            damping=config.damping,
            key=key,
            own=own,
            item_total=torch.stack(totals, dim=-1).float(),
            user_total=torch.stack([total, size], dim=-1).float(),
            total=torch.stack([total.sum(), size.sum()]).float(),
            fold=torch.zeros(num_users + 1, dtype=torch.long),
            vector=torch.zeros(folds + 1, num_items, rank, dtype=torch.float),
            **_co_occurrences(*pairs),
        )
        return made.resample(seed)

    def resample(self, seed: int) -> ItemStatistics:
        """Returns statistics with other folds and item vectors; counts are shared."""
        folds, rank = len(self.vector) - 1, self.vector.size(-1)
        user = self.user_total[:, 1].nonzero().flatten()
        generator = torch.Generator().manual_seed(seed)
        fold = torch.full_like(self.fold, folds)
        shuffled = user[torch.randperm(len(user), generator=generator)]
        fold[shuffled] = torch.arange(len(user)) % folds
        like = _matrix(self.key, self.own[:, 0], (len(self.fold) - 1, self.num_items))
        reference = _item_vectors(like, rank, self.damping)
        vectors = []
        for number in range(folds):
            rest = like[(fold[:-1] != number).numpy()]
            vector = _item_vectors(rest, rank, self.damping)
            left, _, right = torch.linalg.svd(vector.t() @ reference)
            vectors.append(vector @ (left @ right))
        vector = torch.stack([*vectors, reference])
        vector /= reference.square().mean().sqrt().clamp(min=1e-12)
        return replace(self, fold=fold, vector=vector)

    def with_unseen(self, attributes: csr_matrix) -> ItemStatistics:
        """Adds statistics of items without interactions, from similar items.

        They are means over the :data:`NEIGHBORS` items with interactions and the most
        similar attributes, weighted by the cosine; or over evenly spaced items, if no
        item is similar. Statistics of pairs are means, too. These means do not exclude
        a user's own interactions. Attributes have one row per item.
        """
        is_seen = np.zeros(attributes.shape[0], bool)
        is_seen[(self.key % STRIDE).numpy()] = True
        if is_seen.all():
            return self
        unseen = torch.from_numpy(np.flatnonzero(~is_seen))
        stand_in, weight = map(torch.from_numpy, _most_alike(attributes, is_seen))

        def with_means(value: Tensor) -> Tensor:
            value = F.pad(value, (0, 0, 0, len(is_seen) - len(value)))
            return value.index_copy(0, unseen, _weighted_sum(value, stand_in, weight))

        return replace(
            self,
            item_total=with_means(self.item_total),
            vector=torch.stack([with_means(part) for part in self.vector]),
            unseen=unseen,
            stand_in=stand_in,
            stand_weight=weight,
        )

    @property
    def num_items(self) -> int:
        return len(self.item_total)

    def has_interactions(self, user: Tensor) -> Tensor:
        """Whether users have interactions in the statistics, :obj:`[B]`."""
        return self.user_total[self._rows(user), 1] > 0

    def _rows(self, user: Tensor) -> Tensor:
        """Rows of users; an unknown user has the last row."""
        if self.row is not None:
            user = self.row[user].masked_fill(user < 0, -1)
        return user.clamp(max=len(self.fold) - 1)

    def features(self, user: Tensor, item: Tensor) -> ItemFeatures:
        """Features of items :obj:`[B, n]`, without interactions of users :obj:`[B]`.

        A row of -1, or beyond the last user, stands for a user without interactions.
        """
        user = self._rows(user)[:, None]
        own = _found(self.key, self.own, user, item)
        total = self.item_total[item]
        counts = total[..., :2] - own[..., :2]
        square = (total[..., 2:3] - own[..., 2:3].square()).clamp(min=0)
        labels, number = (self.total - self.user_total[user]).unbind(-1)
        mean = labels / number.clamp(min=1)
        count = counts.sum(-1)
        deviation = total[..., 3] - own[..., 3] - count * mean
        deviation = deviation / (count + MEAN_DAMPING)

        edges = torch.tensor(BINS, dtype=counts.dtype).to(counts.device)
        bins = torch.bucketize(counts[..., :1].contiguous(), edges)
        indicator = bins == torch.arange(len(BINS) + 1, device=bins.device)
        return ItemFeatures(
            item=item,
            own=own[..., :3],
            scale=(torch.cat([counts, square], dim=-1) + self.damping).rsqrt(),
            mean=mean + deviation,
            popularity=torch.cat([indicator, counts.log1p(), deviation[..., None]], -1),
            vector=self.vector[self.fold[user], item],
        )

    def kernels(self, query: ItemFeatures, support: ItemFeatures) -> Tensor:
        """All kernels of query and support items, :obj:`[B, S, num_kernels, Q]`."""
        # size = [B, S, Q, 3]
        total = self._pair_totals(support.item, query.item)
        # The user's part: a like of both, a dislike and a like, a product of r~.
        like, _, residual = query.own[:, None].unbind(-1)
        own = support.own[:, :, None] * torch.stack([like, like, residual], dim=-1)
        scales = support.scale[:, :, None], query.scale[:, None]
        last = support.vector @ query.vector.mT / query.vector.size(-1)
        return torch.stack([*_sparse_kernels(total - own, *scales), last], dim=2)

    def _pair_totals(self, support: Tensor, query: Tensor) -> Tensor:
        """Totals of pairs of support items :obj:`[B, S]` and query items."""
        pairs = self.pair_key, self.pair_total
        total = _found(*pairs, support[:, :, None], query[:, None])
        if self.unseen is None:
            return total
        row = torch.searchsorted(self.unseen, query).clamp(max=len(self.unseen) - 1)
        task, place = (self.unseen[row] == query).nonzero(as_tuple=True)
        row = row[task, place]
        # size = [unseen queries, S, K, 3]
        alike = _found(*pairs, support[task][:, :, None], self.stand_in[row][:, None])
        weight = self.stand_weight[row][:, None, :, None]
        total[task, :, place] = (weight * alike).sum(2)
        return total

    def catalogue_kernels(
        self, support: ItemFeatures, catalogue: ItemFeatures
    ) -> Iterator[Tensor]:
        """Kernels of each new user's support and all items, :obj:`[1, S, E, I]`."""
        # size = [S, I, 3], mostly zeros: few pairs of items have a user in common.
        total = support.vector.new_zeros(support.item.size(1), self.num_items, 3)
        vectors = catalogue.vector[0].t()
        bounds = torch.stack([support.item, support.item + 1], dim=1) * STRIDE
        bounds = torch.searchsorted(self.pair_key, bounds)
        for task, (start, end) in enumerate(bounds):
            slot = torch.repeat_interleave(end - start)
            place = ragged(start, end - start)
            other = self.pair_key.index_select(0, place) % STRIDE
            total.zero_()[slot, other] = self.pair_total.index_select(0, place)
            if self.unseen is not None:
                value = total.transpose(0, 1)
                alike = _weighted_sum(value, self.stand_in, self.stand_weight)
                total[:, self.unseen] = alike.transpose(0, 1)
            scales = support.scale[task][:, None], catalogue.scale
            last = support.vector[task] / len(vectors) @ vectors
            yield torch.stack([*_sparse_kernels(total, *scales), last], dim=1)[None]

    def apply(self, function: Callable[[Tensor], Tensor]) -> ItemStatistics:
        """Applies a function to each tensor, such as a move to a device."""
        return replace(self, **{k: function(v) for k, v in self.state_dict().items()})

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors by name, as arguments of the constructor."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}


def _found(keys: Tensor, values: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Looks up values of pairs of rows; pairs without a key have zeros."""
    key = one * STRIDE + other
    place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
    return values[place] * (keys[place] == key)[..., None]


def _sparse_kernels(pair: Tensor, support: Tensor, query: Tensor) -> list[Tensor]:
    """Kernels 1 to 4 from totals of pairs and scales of their items."""
    both, apart, product = pair.unbind(-1)
    like, dislike, square = (support * COSINE_SCALE).unbind(-1)
    likes, _, squares = query.unbind(-1)
    cosines = [apart * dislike * likes, both * like * likes, product * square * squares]
    return [both.log1p(), *cosines]


def _weighted_sum(value: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of rows, :obj:`[U, ...]`; indices and weights are [U, K]."""
    options = {'per_sample_weights': weight, 'mode': 'sum'}
    total = F.embedding_bag(index, value.flatten(1), **options)
    return total.view(-1, *value.size()[1:])


def _most_alike(
    attributes: csr_matrix, is_seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The K seen items most similar to each unseen one, and weights with sum 1.

    Both have size :obj:`[U, K]`. Among equally similar items the first ones are taken.
    """
    unit = unit_rows(attributes).astype(np.float32)
    seen = np.flatnonzero(is_seen)
    rows = np.flatnonzero(~is_seen)
    columns, values = [], []
    for part in np.array_split(rows, -(-len(rows) * len(seen) // MAX_ENTRIES)):
        cosine = torch.from_numpy((unit[part] @ unit[seen].T).toarray())
        place = highest(cosine, NEIGHBORS).sort(dim=1).values
        columns.append(seen[place])
        values.append(cosine.gather(1, place).clamp(min=0).numpy())
    column, weight = np.concatenate(columns), np.concatenate(values)
    is_alone = ~weight.any(axis=1)
    weight[is_alone] = 1
    place = np.linspace(0, len(seen) - 1, weight.shape[1]).round().astype(int)
    column[is_alone] = seen[place]
    return column, weight / weight.sum(axis=1, keepdims=True)


def _matrix(key: Tensor, value: Tensor, shape: tuple[int, int]) -> csr_matrix:
    """A sparse matrix with the nonzero values at keys of rows and columns."""
    made = csr_matrix((value.numpy(), divmod(key.numpy(), STRIDE)), shape)
    made.eliminate_zeros()
    return made


def _co_occurrences(
    like: csr_matrix, dislike: csr_matrix, centered: csr_matrix
) -> dict[str, Tensor]:
    """Keys and totals of item pairs with a common user, computed in blocks."""
    rated = like + dislike
    # Pairs that are zero in the first product are zero in the other products.
    factors = (rated, rated), (like, like), (dislike, like), (centered, centered)
    keys, totals = [], []
    for start in range(0, like.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        products = ((one[:, block].T @ other).tocsr() for one, other in factors)
        common, *others = (product.sorted_indices() for product in products)
        row, column = common.nonzero()
        found = [np.asarray(product[row, column]).ravel() for product in others]
        keys.append(torch.from_numpy((row.astype(np.int64) + start) * STRIDE + column))
        totals.append(torch.from_numpy(np.stack(found, axis=-1)))
    return {'pair_key': torch.cat(keys), 'pair_total': torch.cat(totals)}


def _item_vectors(like: csr_matrix, rank: int, damping: float) -> Tensor:
    like = like.astype(np.float64)
    weight = diags(1 / np.sqrt(np.asarray(like.sum(0)).ravel() + damping))
    return torch.from_numpy(right_factors((like @ weight).tocsr(), rank)).float()
