"""Rating peers without a notion of taste: item means and the user's level."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.episode_peers.arrays import Part, query, support
from tanp import Episodes

SWEEPS = 5  # of each side in turn; the biases settle within three


class ItemMean:
    r"""The items' means, shrunk towards the mean of all ratings.

    Args:
        item_damping (float): Ratings of the mean of all that each item is given.
    """

    GRID: ClassVar[dict[str, tuple]] = {'item_damping': (1, 2, 5, 10, 20)}
    likelihood: ClassVar[bool] = True

    def __init__(self, item_damping: float = 5) -> None:
        self.item_damping = item_damping

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> ItemMean:
        known = query(warm)
        self.mean = known.label.mean()
        rest = known.label - self.mean
        self.bias = shrunk_mean(rest, known.item, num_items, self.item_damping)
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        return self.mean + self.bias[query(episodes).item]


class SupportMean:
    r"""Item biases plus how far the support lies above them.

    .. math::
        \hat{r}_{tj} = \mu + b_j + b_t, \quad b_t = \frac{\sum_{i \in S_t} (r_{ti}
        - \mu - b_i)}{|S_t| + \lambda_u}

    Item and user biases of warm users are fitted in turn, each given the other.

    Args:
        item_damping (float): As in :class:`ItemMean`.
        user_damping (float): :math:`\lambda_u`, in ratings.
    """

    GRID: ClassVar[dict[str, tuple]] = {
        'item_damping': (1, 2, 5, 10, 20),
        'user_damping': (0.5, 1, 2, 5, 10),
    }
    likelihood: ClassVar[bool] = True

    def __init__(self, item_damping: float = 5, user_damping: float = 5) -> None:
        self.item_damping, self.user_damping = item_damping, user_damping

    def fit(self, warm: Episodes, num_items: int, seed: int = 0) -> SupportMean:
        known = query(warm)
        self.mean = known.label.mean()
        self.bias = np.zeros(num_items)
        for _ in range(SWEEPS):
            rest = known.label - self.mean - self.level(known, len(warm))[known.task]
            self.bias = shrunk_mean(rest, known.item, num_items, self.item_damping)
        return self

    def predict(self, episodes: Episodes) -> np.ndarray:
        asked = query(episodes)
        level = self.level(support(episodes), len(episodes))
        return self.mean + self.bias[asked.item] + level[asked.task]

    def level(self, part: Part, num_tasks: int) -> np.ndarray:
        """The bias of each task's user, from one part of their ratings."""
        rest = part.label - self.mean - self.bias[part.item]
        return shrunk_mean(rest, part.task, num_tasks, self.user_damping)

    def residual(self, part: Part, num_tasks: int) -> np.ndarray:
        """What both biases leave of a part's ratings."""
        level = self.level(part, num_tasks)[part.task]
        return part.label - self.mean - self.bias[part.item] - level


def shrunk_mean(
    value: np.ndarray, group: np.ndarray, count: int, damping: float
) -> np.ndarray:
    """Sums over groups, divided by their sizes plus a damping: :obj:`[count]`."""
    total, size = np.bincount(group, value, count), np.bincount(group, None, count)
    return total / (size + damping)
