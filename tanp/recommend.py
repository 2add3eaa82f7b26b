"""The best of the whole catalogue for users of whom a handful of labels is known."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tanp.episodes import Episodes
from tanp.inference import check_episodes, evaluating
from tanp.loader import EpisodeBatch, EpisodeLoader
from tanp.loss import LIKELIHOODS
from tanp.model import TaNP


class Recommendation(NamedTuple):
    """What :func:`recommend` returns, on the CPU.

    Attributes:
        item: Rows of the best items of each task, best first, :obj:`[N, k]`.
        score: Their predicted labels, :obj:`[N, k]`.
    """

    item: Tensor
    score: Tensor


@torch.no_grad()
def recommend(
    model: TaNP,
    episodes: Episodes,
    k: int = 10,
    *,
    exclude_support: bool = True,
    batch_size: int = 4,
) -> Recommendation:
    """Ranks all items for each task by its support; queries are not read.

    Args:
        model (TaNP): The model; it is left in the mode it came in.
        episodes (Episodes): The tasks.
        k (int, optional): Items to return. (default: :obj:`10`)
        exclude_support (bool, optional): Leave out what is in the support.
            (default: :obj:`True`)
        batch_size (int, optional): Tasks at once; each has as many query
            items as there are items, so that few fit a cache. (default: :obj:`4`)

    Raises:
        ValueError: If fewer than k items are left, a support is empty, or
            items, users or labels do not suit the model.
    """
    check_episodes(model, episodes)
    num_items = model.inputs.num_items
    most = int(episodes.num_support.max()) if exclude_support else 0
    if not 1 <= k <= num_items - most:
        raise ValueError(
            f"'k' must be from 1 to {num_items - most}, the items that are left to "
            f'recommend (got {k})'
        )
    device = next(model.parameters()).device
    link = LIKELIHOODS[model.likelihood][1]
    parts = []
    with evaluating(model):
        for batch in EpisodeLoader(episodes, batch_size):
            batch = _catalogue(batch, num_items, exclude_support).to(device)
            output = model(batch)
            score = output.rows.pad(link(output.score))
            score = score.masked_fill(~batch.query_mask, -torch.inf)
            parts.append(score.topk(k, dim=-1))
    score, item = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return Recommendation(item, score)


def _catalogue(batch: EpisodeBatch, num_items: int, exclude: bool) -> EpisodeBatch:
    """The same supports, with every item as query."""
    item = torch.arange(num_items, device=batch.user.device)
    item = item.expand(len(batch.user), -1)
    mask = torch.ones_like(item, dtype=torch.bool)
    if exclude:
        task, slot = batch.support_mask.nonzero(as_tuple=True)
        mask[task, batch.support_item[task, slot]] = False
    label = torch.zeros_like(item, dtype=batch.support_label.dtype)
    return batch._replace(query_item=item, query_label=label, query_mask=mask)
