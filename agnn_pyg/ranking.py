"""The items with the highest scores for each user."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np
import torch
from torch import Tensor

from agnn_pyg.base.ranking import highest

Filter = Callable[[Hashable, np.ndarray], np.ndarray]


def top_items(
    blocks: Iterable[Tensor], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k items with the highest scores for each user.

    The blocks, see :meth:`Scorer.score_all <agnn_pyg.scorers.Scorer.score_all>`, hold
    scores of all items for some users. Returns positions of users, positions of items,
    and scores: user by user, best first. A score of -inf excludes an item.
    """
    found = []
    for score in blocks:
        column = highest(score, k)
        found.append((score.gather(1, column), column))
    value, column = map(torch.cat, zip(*found, strict=True))
    row, place = (value > -torch.inf).nonzero(as_tuple=True)
    parts = row, column[row, place], value[row, place]
    return tuple(part.numpy() for part in parts)


def filtered(
    blocks: Iterable[Tensor], users: np.ndarray, items: np.ndarray, filter: Filter
) -> Iterable[Tensor]:
    """Sets the scores of items that a filter excludes to -inf.

    The filter is called with the id of each user, in order, and the ids of the items.
    ``ValueError`` if it is no function, or does not return a mask of the items.
    """
    if not callable(filter):
        raise ValueError(
            f"'filter' must be a function of a user id and an array of item ids (got "
            f'{type(filter).__name__})'
        )
    start = 0
    for score in blocks:
        for row, user in zip(score, users[start:], strict=False):
            mask = np.asarray(filter(user, items))
            if mask.shape != items.shape or mask.dtype != bool:
                raise ValueError(
                    f"'filter' must return {len(items)} truth values, one for each "
                    f'item (got {mask.dtype}, {list(mask.shape)} for user {user!r})'
                )
            row[torch.from_numpy(~mask)] = -torch.inf
        start += len(score)
        yield score
