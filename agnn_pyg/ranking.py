"""The items with the highest scores for each user."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from agnn_pyg.base.ranking import highest

Filter = Callable[[Hashable, np.ndarray], np.ndarray]


class Groups:
    """Groups rows of the same node: they have equal scores and are scored once.

    Args:
        node (numpy.ndarray): The node of each row, :obj:`[R]`.

    Attributes:
        first: The first row of each group, in ascending order, :obj:`[G]`.
        of: The group of each row, :obj:`[R]`.
    """

    def __init__(self, node: np.ndarray) -> None:
        group, _ = pd.factorize(node)  # numbered as they appear
        self.first = np.unique(group, return_index=True)[1]
        self.of = torch.from_numpy(group)
        self._member = self.of.argsort(stable=True)
        self._count = self.of.bincount()
        self._start = self._count.cumsum(0) - self._count

    def top(self, score: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k rows with the highest scores; :obj:`score` is by group, :obj:`[U, G]`.

        Returns scores and rows, each :obj:`[U, k]`, best first; ties keep the order of
        rows. A score of -inf marks an excluded row.
        """
        k = min(k, len(self.of))
        group = highest(score, k)
        # A group contributes at most k rows.
        place = torch.arange(min(k, int(self._count.max())))
        inside = place < self._count[group][:, :, None]
        row = self._member[(self._start[group][:, :, None] + place).where(inside, 0)]
        value = score.gather(1, group)[:, :, None].where(inside, -torch.inf)
        value, row = value.flatten(1), row.flatten(1)
        order = row.argsort(dim=1)
        value, row = value.gather(1, order), row.gather(1, order)
        value, order = value.sort(dim=1, descending=True, stable=True)
        return value[:, :k], row.gather(1, order)[:, :k]


def top_items(
    blocks: Iterable[Tensor], k: int, users: Groups, items: Groups
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k items with the highest scores for each user.

    The blocks, see :meth:`Scorer.score_all <agnn_pyg.scorers.Scorer.score_all>`, hold
    scores of all groups of items for some groups of users. Returns positions of users,
    positions of items, and scores: user by user, best first. A user with fewer items
    left has fewer than :obj:`k` rows.
    """
    found = [items.top(score, k) for score in blocks]
    value, column = (torch.cat(part)[users.of] for part in zip(*found, strict=True))
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
