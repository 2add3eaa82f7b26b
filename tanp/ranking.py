"""The best of the whole catalogue for users of whom a handful of labels is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Le
from torch import Tensor

from agnn_pyg.base.config import PositiveInt, check_argument
from tanp.catalogue import CatalogueScorer, PairScorer
from tanp.episodes import Episodes
from tanp.inference import check_episodes, evaluating
from tanp.loader import EpisodeBatch, check_tasks, pad
from tanp.loss import LIKELIHOODS
from tanp.model import TaNP

# Tasks at once whose pairs are scored one by one, so that they fit a cache.
FEW = 4


class Recommendation(NamedTuple):
    """What :func:`recommend` returns, on the CPU.

    Attributes:
        item: Rows of the best items of each task, best first, :obj:`[N, k]`.
        score: Their predicted labels, :obj:`[N, k]`.
    """

    item: Tensor
    score: Tensor


def recommend(
    model: TaNP,
    episodes: Episodes,
    k: int = 10,
    *,
    exclude_support: bool = True,
    batch_size: int = 128,
    scorer: CatalogueScorer | None = None,
) -> Recommendation:
    """Ranks all items for each task by its support; queries are not read.

    Users without a share in the model's statistics, which new users are, take a
    quarter of the time of others.

    Args:
        model (TaNP): The model; it is left in the mode it came in.
        episodes (Episodes): The tasks.
        k (int, optional): Items to return. (default: :obj:`10`)
        exclude_support (bool, optional): Leave out what is in the support.
            (default: :obj:`True`)
        batch_size (int, optional): Tasks whose scores are held at once.
            (default: :obj:`128`)
        scorer (CatalogueScorer, optional): Of the model, where many calls share one;
            else it is made anew.

    Raises:
        ValueError: If fewer than k items are left, a support is empty, or
            items, users or labels do not suit the model.
    """
    left = model.inputs.num_items
    if exclude_support and len(episodes):
        left -= int(episodes.num_support.max())
    check_argument('k', k, Annotated[int, Ge(1), Le(left)])
    item = torch.empty(len(episodes), k, dtype=torch.long)
    score = torch.empty(len(episodes), k, dtype=_weight(model).dtype)
    link = LIKELIHOODS[model.likelihood][1]
    # What is made in this mode has less to keep account of, and stays in here.
    with torch.inference_mode():
        scored = _score_catalogue(model, episodes, batch_size, scorer)
        for task, batch, scores in scored:
            if exclude_support:
                # Padding stands for an item that is there, too.
                mask, told = batch.support_mask, batch.support_item
                told = torch.where(mask, told, told[:, :1])
                scores.scatter_(1, told, -torch.inf)
            # Before the link, which keeps the order but for ties of what is certain.
            best = scores.topk(k, dim=-1)
            score.index_copy_(0, task, link(best.values.double()).to(score))
            item.index_copy_(0, task, best.indices.cpu())
    return Recommendation(item, score)


@torch.no_grad()
def predict_catalogue(
    model: TaNP,
    episodes: Episodes,
    batch_size: int = 128,
    scorer: CatalogueScorer | None = None,
) -> Iterator[tuple[Tensor, EpisodeBatch, Tensor]]:
    """Predicted labels of all items for all tasks, some tasks at a time.

    Args:
        model (TaNP): The model, in evaluation mode until the last task is done.
        episodes (Episodes): The tasks.
        batch_size (int, optional): Tasks at a time, at most. (default: :obj:`128`)
        scorer (CatalogueScorer, optional): See :func:`recommend`.

    Yields:
        Positions of tasks, their batch, and predicted labels, :obj:`[B, I]`.

    Raises:
        ValueError: If a support is empty, or items, users or labels do not suit the
            model.
    """
    link = LIKELIHOODS[model.likelihood][1]
    for task, batch, scores in _score_catalogue(model, episodes, batch_size, scorer):
        # In double precision: single ties what is all but certain.
        yield task, batch, link(scores.double())


def _score_catalogue(
    model: TaNP,
    episodes: Episodes,
    batch_size: int,
    scorer: CatalogueScorer | None,
) -> Iterator[tuple[Tensor, EpisodeBatch, Tensor]]:
    """Scores of all items, as :func:`predict_catalogue` takes them."""
    check_argument('batch_size', batch_size, PositiveInt)
    if not len(episodes):
        return
    check_tasks(episodes)
    check_episodes(model, episodes)
    device = _weight(model).device
    statistics = model.inputs.statistics
    suits = CatalogueScorer.suits(model)
    stranger = torch.full((len(episodes),), suits)
    if suits and statistics is not None:
        stranger = statistics.strangers(episodes.user.to(device)).cpu()
    kinds = (
        (stranger, batch_size, lambda: scorer or CatalogueScorer(model)),
        (~stranger, min(batch_size, FEW), lambda: PairScorer(model)),
    )
    with evaluating(model):
        for kind, size, make in kinds:
            position = kind.nonzero().squeeze(-1)
            if not len(position):
                continue
            scores_of = make()
            for part in position.split(size):
                chosen = part.to(episodes.ptr.device)
                batch = pad(episodes, chosen, with_query=False).to(device)
                yield part, batch, scores_of(batch)


def _weight(model: TaNP) -> Tensor:
    """A weight that every model has, found without a walk through all of them."""
    return model.decoder.lin_out.weight
