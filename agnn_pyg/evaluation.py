"""How well a fitted recommender rates and ranks, and which nodes are similar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_pyg.base.frames import RatedPairs
from agnn_pyg.base.metrics import evaluate_rankings
from agnn_pyg.ranking import Seen
from agnn_pyg.rating_data import SIDES

if TYPE_CHECKING:
    from agnn_pyg.fitted import Fitted


def evaluate_ranking(
    serving: Fitted, pairs: RatedPairs, k: int, items: np.ndarray | None = None
) -> dict[str, float]:
    r"""Metrics of the rankings of all items that users have no training pair with.

    Means over the users with relevant items, see
    :func:`~agnn_pyg.base.metrics.ranking_metrics`; :obj:`coverage`, the fraction of the
    items that are among the first k of some user; and :obj:`novelty`, the mean of
    :math:`-\log_2 (n_i + 1) / (n + 1)` over the first k items, which :math:`n_i` of n
    training users have (Vargas and Castells, "Rank and relevance in novelty and
    diversity metrics for recommender systems", 2011).

    Args:
        serving (Fitted): Ids and scorers.
        pairs (RatedPairs): Held-out pairs by their rows; those above 0 are relevant.
        k (int): Length of the lists.
        items (numpy.ndarray, optional): Distinct rows of the items to rank.
            (default: all)
    """
    index = torch.from_numpy(pairs.index[:, pairs.rating > 0])
    users, row = index[0].unique(return_inverse=True)
    row, order = row.sort(stable=True)
    items = np.arange(len(serving.ids['item'])) if items is None else items
    items, place = torch.from_numpy(items), torch.full((len(serving.ids['item']),), -1)
    place[items] = torch.arange(len(items))
    column = place[index[1][order]]
    row, column = row[column >= 0], column[column >= 0]
    node = {s: torch.from_numpy(serving.node[s]) for s in SIDES}
    size = tuple(int(node[side].max()) + 1 for side in SIDES)
    nodes = node['user'][users], node['item'][items]
    seen, count = Seen(serving.rated, *nodes, size), serving.rated[1].bincount()
    count = F.pad(count, (0, size[1] - len(count)))[nodes[1]]
    information = -((count + 1) / (len(serving.rated[0].unique()) + 1)).log2()
    blocks = seen.excluded(serving.scorer.score_all(*nodes))
    made, found = evaluate_rankings(blocks, torch.stack([row, column]), k)
    made['coverage'] = len(found.unique()) / len(items)
    made['novelty'] = float(information[found].mean())
    return {f'{name}@{k}': value for name, value in made.items()}


def most_similar(embedding: Tensor, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The other rows with the highest cosines, and these, best first."""
    unit = F.normalize(embedding.double(), dim=1)
    score = unit @ unit[row]
    score[row] = -torch.inf
    order = score.argsort(descending=True, stable=True)[: min(k, len(score) - 1)]
    return order.numpy(), score[order].numpy()
