"""Metrics of lists: the standard ones, and those of TaNP's published code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agnn_pyg.base.metrics import auc, by_score, ranking_metrics


def list_metrics(
    predicted: Tensor,
    label: Tensor,
    mask: Tensor,
    ks: Sequence[int] = (5, 10),
    relevant: float = 0.5,
) -> dict[str, Tensor]:
    """Errors (:obj:`mse`, :obj:`mae`), :obj:`auc`, and ranking metrics at each of ks.

    Ranking metrics are those of :func:`~agnn_pyg.base.metrics.ranking_metrics` and of
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
