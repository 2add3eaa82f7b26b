"""From frames of ratings to episodes: interactions of a user, side by side."""

from __future__ import annotations

import numpy as np
import torch

from tanp.episodes import Episodes, offsets


def episodes_to_train(
    user: np.ndarray,
    item: np.ndarray,
    label: np.ndarray,
    *,
    support_size: int,
    seed: int,
) -> Episodes:
    """A task of each user, shuffled.

    Args:
        user: Rows of users, :obj:`[R]`.
        item: Rows of items, :obj:`[R]`.
        label: Labels, :obj:`[R]`.
        support_size: Most interactions of a support; a query has as many at least.
        seed: Of the shuffle.
    """
    shuffle = np.random.default_rng(seed).permutation(len(user))
    order = shuffle[np.argsort(user[shuffle], kind='stable')]
    task, count = np.unique(user, return_counts=True)
    support = np.minimum(support_size, count // 2)
    return _episodes(task, count, item[order], label[order], support)


def episodes_to_rate(
    support: tuple[np.ndarray, np.ndarray, np.ndarray],
    query: tuple[np.ndarray, np.ndarray],
) -> tuple[Episodes, np.ndarray]:
    """A task of each user in a query, with the support of that user.

    Args:
        support: Users, items and labels, each :obj:`[S]`.
        query: Users and items, each :obj:`[Q]`; labels are not known.

    Returns:
        The episodes, and where in the query each of their query interactions
        stands, :obj:`[Q]`.
    """
    task, count = np.unique(query[0], return_counts=True)
    known = np.isin(support[0], task)
    user = np.concatenate([support[0][known], query[0]])
    item = np.concatenate([support[1][known], query[1]])
    # The label of a query is never read.
    label = np.concatenate([support[2][known], np.zeros(len(query[0]))])
    asked = np.arange(len(user)) >= known.sum()
    order = np.lexsort((asked, user))
    size = np.searchsorted(user[order], task, side='right')
    size = np.diff(size, prepend=0)
    episodes = _episodes(task, size, item[order], label[order], size - count)
    return episodes, np.argsort(query[0], kind='stable')


def episodes_of_supports(
    support: tuple[np.ndarray, np.ndarray, np.ndarray], user: np.ndarray
) -> Episodes:
    """A task of each of some users, in ascending order, without a query.

    Args:
        support: Users, items and labels, each :obj:`[S]`.
        user: Users, each with a support, in any order.
    """
    chosen = np.flatnonzero(np.isin(support[0], user))
    chosen = chosen[np.argsort(support[0][chosen], kind='stable')]
    user, item, label = (value[chosen] for value in support)
    task, size = np.unique(user, return_counts=True)
    return _episodes(task, size, item, label, size)


def _episodes(
    task: np.ndarray,
    size: np.ndarray,
    item: np.ndarray,
    label: np.ndarray,
    support: np.ndarray,
) -> Episodes:
    size, support = (torch.from_numpy(n.astype(np.int64)) for n in (size, support))
    return Episodes(
        user=torch.from_numpy(task.astype(np.int64)),
        ptr=offsets(size),
        item=torch.from_numpy(item.astype(np.int64)),
        label=torch.from_numpy(label.astype(np.float32)),
        num_support=support,
        query_start=support.clone(),
    )
