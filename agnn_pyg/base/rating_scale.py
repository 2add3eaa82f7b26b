"""The scale that models read ratings on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from agnn_pyg.base.frames import Ratings

# The spread of ratings from 1 to 5, which learning rates and penalties suit.
SPREAD = 4.0
# Weights beyond this many times the largest of the fit are perhaps of another unit.
FAR = 10.0
# What all ratings of a scale may be multiples of.
STEPS = (1.0, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class RatingScale:
    r"""Brings ratings to a spread of 4, which settings suit, and predictions back.

    A weight :math:`w` of a positive becomes :math:`\log_2(1 + w / \bar w)`.
    """

    low: float
    high: float
    unit: float  # what ratings are divided by
    center: float = 0.0  # what is subtracted from ratings first
    is_log: bool = False  # whether these are weights of positives
    step: float | None = None  # what all ratings are multiples of

    @classmethod
    def fit(
        cls,
        rating: np.ndarray,
        bounds: tuple[float, float] | None = None,
        center: float = 0.0,
    ) -> RatingScale:
        """The scale of some ratings, or the one from a lowest to a highest rating."""
        low, high = bounds or (float(rating.min()), float(rating.max()))
        step = next((step for step in STEPS if not _is_off(rating, step).any()), None)
        return cls(low, high, (high - low) / SPREAD, center, step=step)

    @classmethod
    def of_weights(cls, weight: np.ndarray) -> RatingScale:
        """The scale of weights of positives, on which a common one is 1."""
        unit, high = float(weight.mean()), float(weight.max())
        return cls(0.0, high, unit, is_log=True)

    def check(
        self, rated: Ratings, slack: float = 0.5, setting: str = "'rating_range'"
    ) -> None:
        """Raises ``ValueError`` for ratings of another scale than that of the fit.

        Others may rate lower or higher, by :obj:`slack` of the range; there is a
        warning if it is more than a tenth. The :obj:`setting` is the one that would
        change the scale. Of weights there is a warning alone, for very large ones.
        """
        if self.is_log:
            rated.pair.remark(
                rated.rating > FAR * self.high,
                f'has weights far above those of the fit, at most {self.high:g}, in',
                'correct them, unless they are meant',
            )
            return
        rating, column = rated.rating, rated.column
        spread = self.high - self.low
        low, high = self.low - slack * spread, self.high + slack * spread
        column.refuse(
            (rating < low) | (rating > high),
            f'has a rating outside of [{low:g}, {high:g}] in',
            f'bring it to that range, drop it, or fit with {setting}',
        )
        beyond = np.maximum(self.low - rating, rating - self.high) > spread / 10
        column.remark(
            beyond,
            f'has a rating outside of those of the fit, [{self.low:g}, {self.high:g}], '
            f'which counts as it is, in',
            f'correct it, or fit with {setting}, unless it is meant',
        )
        if self.step is not None:
            kind = 'whole number' if self.step == 1 else f'multiple of {self.step:g}'
            column.remark(
                ~beyond & _is_off(rating, self.step),
                f'has a rating that is no {kind}, unlike all of the fit, in',
                'bring it to their scale, unless it is meant',
            )

    def is_high(self, rating: np.ndarray) -> np.ndarray:
        """Which ratings are in the upper quarter, such as 4 and 5 of 1 to 5."""
        return rating >= self.low + 0.75 * (self.high - self.low)

    def to_unit_scale(self, rating: np.ndarray) -> np.ndarray:
        """Ratings or weights as models read them."""
        value = (rating - self.center) / self.unit
        return np.log2(1 + value) if self.is_log else value

    def to_rating_scale(self, value: np.ndarray) -> np.ndarray:
        """What models predict, as ratings in their range."""
        return np.clip(self.unit * value + self.center, self.low, self.high)

    def to_series(
        self, score: np.ndarray, rating: str | None, clip: bool, index: pd.Index
    ) -> pd.Series:
        """Predictions: ratings, clipped to their range or not; of positives, scores."""
        clipped, *whole = self.to_columns(score, rating).values()
        value = clipped if clip or not whole else whole[0]
        return pd.Series(value, index, name=rating or 'score')

    def to_columns(
        self, score: np.ndarray, rating: str | None
    ) -> dict[str, np.ndarray]:
        """Predictions: a column of ratings in their range, if any, and of scores.

        The score is the rating before it is clipped; of positives, what models predict.
        """
        if rating is None:
            return {'score': score}
        clipped = self.to_rating_scale(score)
        return {rating: clipped, 'score': self.unit * score + self.center}


def _is_off(rating: np.ndarray, step: float) -> np.ndarray:
    """Which ratings are no multiples of a step."""
    count = rating / step
    return ~np.isclose(count, count.round(), rtol=0, atol=1e-6)
