r"""Rating and ranking metrics, for batches of lists and with exact handling of ties.

Ranking metrics take padded scores, labels and a mask, each :obj:`[B, n]`, and return
one value per list, :obj:`[B]`. The value is NaN if it is undefined for a list.

Tied scores: each metric is its mean over all orders of items with equal scores
(McSherry and Najork, "Computing Information Retrieval Performance Measures Efficiently
in the Presence of Tied Scores", 2008). scikit-learn does the same for nDCG.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.base.checks import warn

# Names of ranking metrics in results.
NAMES = {
    'recall': 'recall',
    'precision': 'precision',
    'ndcg': 'ndcg',
    'ap': 'map',
    'rr': 'mrr',
}


def rating_metrics(predicted: Any, rating: Any) -> dict[str, float]:
    """The errors :obj:`rmse` and :obj:`mae` of R predictions, in double precision."""
    predicted, rating = np.asarray(predicted, float), np.asarray(rating, float)
    if predicted.shape != rating.shape or not rating.size:
        raise ValueError(
            f"'predicted' must hold one value for each of {rating.size} ratings, and "
            f'at least one (got {predicted.size})'
        )
    for name, value in (('predicted', predicted), ('rating', rating)):
        bad = np.flatnonzero(~np.isfinite(value))
        if len(bad):
            raise ValueError(
                f"'{name}' must be finite (got {value[bad[0]]} in row {bad[0]}, the "
                f'first of {len(bad):,}); drop these rows'
            )
    error = predicted - rating
    return {
        'rmse': float(np.sqrt(np.square(error).mean())),
        'mae': float(np.abs(error).mean()),
    }


def ranking_metrics(
    score: Tensor, label: Tensor, mask: Tensor, k: int, relevant: float = 0.5
) -> dict[str, Tensor]:
    r"""The standard ranking metrics at k; labels above :obj:`relevant` are relevant.

    These are undefined for a list without relevant items: :obj:`precision` (hits / k),
    :obj:`recall` (hits / relevant items), :obj:`hit` (whether there is a hit),
    :obj:`ap` (sum of the precision at each hit, divided by the maximum number of hits)
    and :obj:`rr` (1 / rank of the first hit, or 0). :obj:`ndcg` is undefined if all
    gains are 0; its gains are :math:`2^y - 1` and its discounts
    :math:`\log_2(\text{rank} + 1)`. ``ValueError`` if a score is not finite or k < 1.
    """
    if k < 1:
        raise ValueError(f"'k' must be at least 1 (got {k})")
    is_relevant = _exact((label > relevant) & mask)
    gain = _exact(label).exp2() - 1
    ranking = _Ranking.of(score, mask)
    place = torch.arange(1, score.size(-1) + 1, device=score.device)

    def total(value: Tensor) -> Tensor:
        return value.masked_fill(place > k, 0).sum(-1)

    size = ranking.size
    found = ranking.sum_of(is_relevant)
    hit = found / size
    drawn = place - 1 - ranking.start  # tied items at higher ranks
    # Expected hits up to a rank that is a hit itself.
    others = drawn * (found - 1) / (size - 1).clamp(min=1)
    hits = ranking.sum_before(is_relevant) + 1 + others
    # Probability of no hit up to a rank: tied items are drawn without replacement.
    none = ((size - found - drawn).clamp(min=0) / (size - drawn)).cumprod(-1)
    first = torch.cat([1 - none[:, :1], none[:, :-1] - none[:, 1:]], dim=-1)
    discount = (place + 1).log2().reciprocal()
    ideal = gain.masked_fill(~mask, -torch.inf).sort(dim=-1, descending=True).values
    ideal = ideal.masked_fill(ideal.isinf(), 0)
    gain = ranking.sum_of(gain.masked_fill(~mask, 0)) / size
    count = is_relevant.sum(-1)
    metrics = {
        'precision': total(hit) / k,
        'recall': total(hit) / count,
        'hit': total(first),
        'ap': total(hit * hits / place) / count.clamp(max=k),
        'rr': total(first / place),
    }
    metrics = {n: v.masked_fill(count == 0, torch.nan) for n, v in metrics.items()}
    return metrics | {'ndcg': total(gain * discount) / total(ideal * discount)}


def list_metrics(
    predicted: Tensor, label: Tensor, mask: Tensor, ks: Sequence[int], relevant: float
) -> dict[str, Tensor]:
    """Metrics :obj:`mse`, :obj:`mae`, :obj:`auc` and ranking metrics at each k.

    :func:`ranking_metrics` and :func:`published_metrics` define the ranking metrics;
    their names are like :obj:`"ndcg@5"`. Arguments are padded lists, :obj:`[B, n]`;
    labels above :obj:`relevant` are relevant.
    """
    error = (predicted - label).masked_fill(~mask, 0)
    metrics = {
        'mse': error.square().sum(-1) / mask.sum(-1),
        'mae': error.abs().sum(-1) / mask.sum(-1),
        'auc': auc(predicted, label, mask, relevant),
    }
    for k in ks:
        at_k = ranking_metrics(predicted, label, mask, k, relevant)
        at_k |= published_metrics(predicted, label, mask, k)
        metrics |= {f'{name}@{k}': value for name, value in at_k.items()}
    return metrics


def published_metrics(
    score: Tensor, label: Tensor, mask: Tensor, k: int
) -> dict[str, Tensor]:
    r"""Precision, AP and RR at k as defined in TaNP's published code.

    The *wanted* labels are the k largest ones, with repeats. From rank 1 on, a rank is
    a hit if its label is still wanted; the hit removes one copy of the label. If labels
    are 0 and 1 and a list has fewer than k positives, zeros are wanted, too, so a
    random ranking scores high. Tied items keep the order of the list. The precision is
    hits / k. The AP is the sum of the precision at each hit, divided by k. The RR is
    1 / the first rank whose label is among the k largest, or 0.

    Raises:
        ValueError: If a score is not finite, or k exceeds the shortest list.
    """
    shortest = int(mask.sum(-1).min())
    if not 1 <= k <= shortest:
        raise ValueError(
            f"'k' must be from 1 to {shortest}, the length of the shortest list (got "
            f'{k}); lower it, or leave out short lists'
        )
    ranked = label.gather(-1, by_score(score, mask)[:, :k])
    wanted = label.masked_fill(~mask, -torch.inf).topk(k, dim=-1).values
    before = (ranked[:, :, None] == ranked[:, None, :]).tril(-1).sum(-1)
    copies = (ranked[:, :, None] == wanted[:, None, :]).sum(-1)
    hit = (before < copies).to(score.dtype)
    place = torch.arange(1, k + 1, device=score.device)
    return {
        'published_precision': hit.mean(-1),
        'published_ap': (hit * hit.cumsum(-1) / place).mean(-1),
        'published_rr': ((copies > 0) / place).amax(-1),
    }


def evaluate_rankings(
    score_all: Callable[[Tensor], Iterable[Tensor]],
    relevant: Tensor,
    num_items: int,
    k: int,
) -> tuple[dict[str, float], Tensor]:
    """Means of :func:`ranking_metrics` over users, and the items of all top-k lists.

    Args:
        score_all (callable): Takes distinct users and yields their scores of all items,
            :obj:`[B, num_items]`, for some users at a time; -inf excludes an item.
        relevant (Tensor): Pairs of users and relevant items, :obj:`[2, R]`; -1 for an
            item that is not ranked.
        num_items (int): Number of items.
        k (int): Length of the lists.

    Returns:
        The means by name, such as :obj:`"recall@20"`, and the items of all lists,
        concatenated. Without relevant items, means are NaN, with a warning.
        :obj:`coverage` is the fraction of items that are in any list.
    """
    users, row = relevant[0].unique(return_inverse=True)
    is_ranked = relevant[1] >= 0
    start = 0
    row, order = row[is_ranked].sort(stable=True)
    column = relevant[1][is_ranked][order]
    totals, found = [torch.empty(len(NAMES), 0)], [column[:0]]
    for score in score_all(users):
        mask = score > -torch.inf
        score, label = score.masked_fill(~mask, 0), torch.zeros_like(score)
        bounds = torch.tensor([start, start + len(score)])
        low, high = torch.searchsorted(row, bounds).tolist()
        label[row[low:high] - start, column[low:high]] = 1
        metrics = ranking_metrics(score, label, mask, k)
        totals.append(torch.stack([metrics[name] for name in NAMES]))
        first = by_score(score, mask)[:, :k]
        found.append(first[mask.gather(1, first)])
        start += len(score)
    means = torch.cat(totals, dim=1).nanmean(dim=1)
    if means.isnan().all():
        remedy = 'pass pairs that the model was not trained on'
        if not len(is_ranked):
            remedy = 'add ratings in the upper quarter of the range of the fit'
        elif not is_ranked.any():
            remedy = "include items of 'ratings' in 'among'"
        warn(
            f"'ratings' has no relevant item among the ranked ones, so all ranking "
            f'metrics are NaN; {remedy}'
        )
    found = torch.cat(found)
    made = dict(zip(NAMES.values(), means.tolist(), strict=True))
    made['coverage'] = len(found.unique()) / num_items
    return {f'{name}@{k}': value for name, value in made.items()}, found


def auc(score: Tensor, label: Tensor, mask: Tensor, relevant: float = 0.5) -> Tensor:
    """The fraction of (relevant, other) pairs in correct order; ties count half."""
    is_relevant = _exact((label > relevant) & mask)
    is_other = _exact(mask) - is_relevant
    ranking = _Ranking.of(score, mask)
    higher = ranking.sum_before(is_other) + ranking.sum_of(is_other) / 2
    hit = ranking.sum_of(is_relevant) / ranking.size
    pairs = is_relevant.sum(-1) * is_other.sum(-1)
    return (hit * (is_other.sum(-1, keepdim=True) - higher)).sum(-1) / pairs


def pad_lists(group: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """A mask, and values :obj:`[R]` as padded lists :obj:`[B, n]`, one per group."""
    order = group.argsort(stable=True)
    _, size = group[order].unique_consecutive(return_counts=True)
    most = int(size.max()) if len(size) else 0
    mask = torch.arange(most, device=group.device) < size[:, None]
    shape = mask.shape
    return mask, *(v.new_zeros(shape).masked_scatter(mask, v[order]) for v in values)


class _Ranking(NamedTuple):
    """Ranked lists; each rank belongs to a group of tied scores."""

    order: Tensor  # the item at each rank, [B, n]
    start: Tensor  # the first rank of the group, from 0
    stop: Tensor  # the rank after the group

    @classmethod
    def of(cls, score: Tensor, mask: Tensor) -> _Ranking:
        order = by_score(score, mask)
        rising = -score.masked_fill(~mask, -torch.inf).gather(-1, order)
        start, stop = (
            torch.searchsorted(rising, rising, side=side) for side in ('left', 'right')
        )
        return cls(order, start, stop)

    @property
    def size(self) -> Tensor:
        return self.stop - self.start

    def sum_of(self, value: Tensor) -> Tensor:
        """The sum of values over the items of each rank's group."""
        sums = self._sums(value)
        return sums.gather(-1, self.stop) - sums.gather(-1, self.start)

    def sum_before(self, value: Tensor) -> Tensor:
        """The sum of values over all items with higher scores."""
        return self._sums(value).gather(-1, self.start)

    def _sums(self, value: Tensor) -> Tensor:
        return F.pad(value.gather(-1, self.order).cumsum(-1), (1, 0))


def by_score(score: Tensor, mask: Tensor) -> Tensor:
    """The items of each list by descending score; ties keep the order of the list."""
    if not score[mask].isfinite().all():
        raise ValueError("'score' must be finite; some score is not")
    score = score.masked_fill(~mask, -torch.inf)
    return score.argsort(dim=-1, descending=True, stable=True)


def _exact(value: Tensor) -> Tensor:
    """Double precision if the device supports it."""
    return value.float() if value.device.type == 'mps' else value.double()
