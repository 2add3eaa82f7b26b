"""How well tasks are ranked and rated: all tasks of a batch at once.

Every function takes padded scores, labels and a mask, :obj:`[B, Q]`, and gives
one value a task, :obj:`[B]`, NaN where a task leaves it undefined. Equal scores
keep the order of the query.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tanp.episodes import Episodes
from tanp.nn.rows import rows_of


def tie_counting_metrics(
    score: Tensor, label: Tensor, mask: Tensor, k: int
) -> dict[str, Tensor]:
    r"""Precision, nDCG and AP at k by the definitions of TaNP's published code.

    *Wanted* are the k largest labels, with repeats. Going down the ranking, a
    place is a hit if its label is still wanted, and one copy is then taken
    out. With labels 0 and 1 and fewer than k positives zeros are wanted, too,
    so these are not the usual precision and AP: a random ranking does well.
    Published figures use them.

    Returns:
        :obj:`tie_precision` (hits / k), :obj:`tie_ap` (precision at each hit,
        summed and divided by k) and :obj:`ndcg`, which is the usual one, with
        gains :math:`2^y - 1`.

    Raises:
        ValueError: If k exceeds the query of a task.
    """
    ranked = _ranked(score, label, mask, k)
    wanted = _largest(label, mask, k)
    same = ranked[:, :, None] == ranked[:, None, :]
    before = same.tril(-1).sum(-1)
    copies = (ranked[:, :, None] == wanted[:, None, :]).sum(-1)
    hit = (before < copies).to(score.dtype)
    place = torch.arange(1, k + 1, device=score.device)
    return {
        'tie_precision': hit.mean(-1),
        'tie_ap': (hit * hit.cumsum(-1) / place).mean(-1),
        'ndcg': _dcg(ranked) / _dcg(wanted),
    }


def ranking_metrics(
    score: Tensor, label: Tensor, mask: Tensor, k: int, relevant: float = 0.5
) -> dict[str, Tensor]:
    r"""The standard ranking metrics at k.

    Args:
        score (Tensor): Scores to rank by.
        label (Tensor): True labels.
        mask (Tensor): True for query items, false for padding.
        k (int): Cut-off.
        relevant (float, optional): Labels above it count as relevant.
            (default: :obj:`0.5`)

    Returns:
        :obj:`precision`, :obj:`recall`, :obj:`ap` (precision at each relevant
        place, summed and divided by the most there can be), :obj:`rr` (one over
        the first relevant place, 0 beyond k), all undefined for a task without
        relevant items, and :obj:`ndcg` with gains :math:`2^y - 1`. Their means
        over tasks are MAP and MRR.

    Raises:
        ValueError: If k exceeds the query of a task.
    """
    ranked = _ranked(score, label, mask, k)
    hit = (ranked > relevant).to(score.dtype)
    count = ((label > relevant) & mask).sum(-1).to(score.dtype)
    undefined = count == 0
    place = torch.arange(1, k + 1, device=score.device)
    metrics = {
        'precision': hit.mean(-1),
        'recall': hit.sum(-1) / count,
        'ap': (hit * hit.cumsum(-1) / place).sum(-1) / count.clamp(max=k),
        'rr': (hit / place).amax(-1),
        'ndcg': _dcg(ranked) / _dcg(_largest(label, mask, k)),
    }
    return {
        name: value if name == 'ndcg' else value.masked_fill(undefined, torch.nan)
        for name, value in metrics.items()
    }


def auc(score: Tensor, label: Tensor, mask: Tensor, relevant: float = 0.5) -> Tensor:
    """Share of (relevant, other) pairs in the right order; ties count half.

    Undefined for a task without relevant or without other items.
    """
    positive = (label > relevant) & mask
    negative = ~(label > relevant) & mask
    pair = positive[:, :, None] & negative[:, None, :]
    above = (score[:, :, None] - score[:, None, :]).sign().add(1).div(2)
    return above.masked_fill(~pair, 0).sum((1, 2)) / pair.sum((1, 2))


def error_metrics(predicted: Tensor, label: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Mean squared and mean absolute error, :obj:`mse` and :obj:`mae`."""
    count = mask.sum(-1)
    error = (predicted - label).masked_fill(~mask, 0)
    return {
        'mse': error.square().sum(-1) / count,
        'mae': error.abs().sum(-1) / count,
    }


def episode_metrics(
    predicted: Tensor,
    label: Tensor,
    mask: Tensor,
    ks: Sequence[int] = (5, 10),
    relevant: float = 0.5,
) -> dict[str, Tensor]:
    """All metrics of this file, named as in :obj:`"tie_precision@5"`."""
    metrics = error_metrics(predicted, label, mask)
    metrics['auc'] = auc(predicted, label, mask, relevant)
    for k in ks:
        at_k = tie_counting_metrics(predicted, label, mask, k)
        at_k |= ranking_metrics(predicted, label, mask, k, relevant)
        metrics |= {f'{name}@{k}': value for name, value in at_k.items()}
    return metrics


def evaluate(
    episodes: Episodes,
    predicted: Tensor,
    ks: Sequence[int] = (5, 10),
    relevant: float = 0.5,
) -> dict[str, Tensor]:
    """The metrics of predictions by any model, one value a task.

    Args:
        episodes (Episodes): The tasks.
        predicted (Tensor): One value a query interaction, in the order of
            :meth:`~tanp.episodes.Episodes.query_index`.
        ks (sequence, optional): Cut-offs. (default: :obj:`(5, 10)`)
        relevant (float, optional): Labels above it count as relevant.
            (default: :obj:`0.5`)

    Raises:
        ValueError: If a cut-off exceeds the query of a task, or the number of
            predictions is another than that of query interactions.
    """
    index = episodes.query_index()
    if predicted.size() != index.size():
        raise ValueError(
            f"'predicted' must hold one value a query interaction, {len(index)} (got "
            f'size {list(predicted.size())})'
        )
    count = episodes.num_query
    mask = torch.arange(int(count.max()), device=count.device) < count[:, None]
    rows = rows_of(mask)
    label = rows.pad(episodes.label[index].to(predicted.dtype))
    return episode_metrics(rows.pad(predicted), label, mask, ks, relevant)


def _ranked(score: Tensor, label: Tensor, mask: Tensor, k: int) -> Tensor:
    """Labels of the k highest scores, :obj:`[B, k]`."""
    least = int(mask.sum(-1).min())
    if not 1 <= k <= least:
        raise ValueError(
            f"'k' must be from 1 to {least}, the size of the smallest query "
            f'(got {k}); leave small tasks out, or lower it'
        )
    if not score[mask].isfinite().all():
        raise ValueError("'score' must be finite; it is not for some query item")
    order = score.masked_fill(~mask, -torch.inf).argsort(
        dim=-1, descending=True, stable=True
    )
    return label.gather(-1, order[:, :k])


def _largest(label: Tensor, mask: Tensor, k: int) -> Tensor:
    return label.masked_fill(~mask, -torch.inf).topk(k, dim=-1).values


def _dcg(gain: Tensor) -> Tensor:
    place = torch.arange(2, gain.size(-1) + 2, device=gain.device, dtype=gain.dtype)
    return ((gain.exp2() - 1) / place.log2()).sum(-1)
