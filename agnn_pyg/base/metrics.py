r"""How well predictions rate and rank: many lists at once, ties in no order.

Ranking metrics take padded scores, labels and a mask, each :obj:`[B, n]`, and give one
value a list, :obj:`[B]`, NaN where a list leaves it undefined.

One rule for ties: items of equal scores are in no order, and each metric is its mean
over all orders of them (McSherry and Najork, "Computing Information Retrieval
Performance Measures Efficiently in the Presence of Tied Scores", 2008). For nDCG this
is what scikit-learn does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.base.checks import warn

# What metrics of a list are called in tables.
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
            f"'predicted' must hold a value for each of {rating.size} ratings, one at "
            f'least (got {predicted.size})'
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

    Undefined for a list without relevant items: :obj:`precision` (hits / k),
    :obj:`recall` (hits / relevant items), :obj:`hit` (whether there is one), :obj:`ap`
    (precision at each hit, summed and divided by the most hits there can be),
    :obj:`rr` (one over the place of the first hit, or 0). Undefined without a gain:
    :obj:`ndcg`, with gains :math:`2^y - 1` and discounts :math:`\log_2(\text{place} +
    1)`. ``ValueError`` if a score is not finite, or k is not positive.
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
    drawn = place - 1 - ranking.start  # items of the same score at higher places
    # Expected hits up to a place that is a hit itself.
    others = drawn * (found - 1) / (size - 1).clamp(min=1)
    hits = ranking.sum_before(is_relevant) + 1 + others
    # Chance of no hit up to a place: items of a score are drawn without replacement.
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
    """Errors (:obj:`mse`, :obj:`mae`), :obj:`auc`, and ranking metrics at each of ks.

    Ranking metrics are those of :func:`ranking_metrics` and of
    :func:`published_metrics`, under names such as :obj:`"ndcg@5"`. Arguments are padded
    lists, :obj:`[B, n]`; labels above :obj:`relevant` are relevant.
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
    r"""Precision, AP and RR at k by the definitions of TaNP's published code.

    *Wanted* are the k largest labels, with repeats. Going down the ranking, a place is
    a hit if its label is still wanted, and one copy of it is then taken out. With
    labels 0 and 1 and fewer than k positives, zeros are wanted, too, so a random
    ranking does well. Items of equal scores keep the order of the list. The precision
    is hits / k, the AP the precision at each hit, summed and divided by k, and the RR
    one over the first place with a label that is wanted at the start, or 0.

    Raises:
        ValueError: If a score is not finite, or k exceeds the shortest list.
    """
    shortest = int(mask.sum(-1).min())
    if not 1 <= k <= shortest:
        raise ValueError(
            f"'k' must be from 1 to {shortest}, the length of the shortest list (got "
            f'{k}); leave short lists out, or lower it'
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
    """Means of :func:`ranking_metrics` over users, and what is first in any list.

    Args:
        score_all (callable): From distinct users to their scores of all items, some
            users at a time, -inf for items that are left out, :obj:`[B, num_items]`.
        relevant (Tensor): Pairs of users and relevant items, :obj:`[2, R]`; -1 for an
            item that is not ranked.
        num_items (int): Number of items.
        k (int): Length of the lists.

    Returns:
        Under names such as :obj:`"recall@20"` the means, NaN, with a warning, where
        nothing is relevant, and :obj:`coverage`, the fraction of the items that are in
        any list; and the items of all lists, one after the other.
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
        remedy = 'pass pairs that the model does not know'
        if not len(is_ranked):
            remedy = 'add ratings in the upper quarter of the range of the fit'
        elif not is_ranked.any():
            remedy = "name items of 'ratings' in 'among'"
        warn(
            f"'ratings' has no relevant item among those that are ranked, so all "
            f'metrics of rankings are NaN; {remedy}'
        )
    found = torch.cat(found)
    made = dict(zip(NAMES.values(), means.tolist(), strict=True))
    made['coverage'] = len(found.unique()) / num_items
    return {f'{name}@{k}': value for name, value in made.items()}, found


def auc(score: Tensor, label: Tensor, mask: Tensor, relevant: float = 0.5) -> Tensor:
    """The fraction of (relevant, other) pairs in the right order; ties count half."""
    is_relevant = _exact((label > relevant) & mask)
    is_other = _exact(mask) - is_relevant
    ranking = _Ranking.of(score, mask)
    higher = ranking.sum_before(is_other) + ranking.sum_of(is_other) / 2
    hit = ranking.sum_of(is_relevant) / ranking.size
    pairs = is_relevant.sum(-1) * is_other.sum(-1)
    return (hit * (is_other.sum(-1, keepdim=True) - higher)).sum(-1) / pairs


def pad_lists(group: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """A mask and values, each :obj:`[R]`, as padded lists by ascending group."""
    order = group.argsort(stable=True)
    _, size = group[order].unique_consecutive(return_counts=True)
    most = int(size.max()) if len(size) else 0
    mask = torch.arange(most, device=group.device) < size[:, None]
    shape = mask.shape
    return mask, *(v.new_zeros(shape).masked_scatter(mask, v[order]) for v in values)


class _Ranking(NamedTuple):
    """Lists by falling score, and the group of equal scores that a place is in."""

    order: Tensor  # the item at each place, [B, n]
    start: Tensor  # the first place of the group, from 0
    stop: Tensor  # the place after it

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
        """The sum over the items of the group, for values of items."""
        sums = self._sums(value)
        return sums.gather(-1, self.stop) - sums.gather(-1, self.start)

    def sum_before(self, value: Tensor) -> Tensor:
        """The sum over all items of higher scores."""
        return self._sums(value).gather(-1, self.start)

    def _sums(self, value: Tensor) -> Tensor:
        return F.pad(value.gather(-1, self.order).cumsum(-1), (1, 0))


def by_score(score: Tensor, mask: Tensor) -> Tensor:
    """The items of each list by falling score, ties in the order of the list."""
    if not score[mask].isfinite().all():
        raise ValueError("'score' must be finite; it is not for some item")
    score = score.masked_fill(~mask, -torch.inf)
    return score.argsort(dim=-1, descending=True, stable=True)


def _exact(value: Tensor) -> Tensor:
    """Double precision, where a device has it."""
    return value.float() if value.device.type == 'mps' else value.double()
