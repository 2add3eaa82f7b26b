"""Conversion between the ratings of tables and the scale of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agnn_pyg.base.frames import Ratings

# The spread of ratings from 1 to 5; default learning rates and penalties assume it.
SPREAD = 4.0
# Weights above this multiple of the largest weight of the fit may have another unit.
FAR = 10.0
# Steps that the ratings of a scale may be multiples of.
STEPS = (1.0, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class RatingScale:
    r"""Scales ratings to a spread of 4, and predictions back to ratings.

    A rating :math:`r` becomes (r - center) / unit. A weight :math:`w` of a positive
    becomes :math:`\log_2(1 + w / \bar w)`.
    """

    low: float
    high: float
    unit: float
    center: float = 0.0
    is_log: bool = False  # true for weights of positives
    step: float | None = None  # all ratings of the fit are multiples of it

    @classmethod
    def fit(
        cls,
        rating: np.ndarray,
        bounds: tuple[float, float] | None = None,
        center: float = 0.0,
    ) -> RatingScale:
        """The scale of the range of ratings, or of given :obj:`bounds`."""
        low, high = bounds or (float(rating.min()), float(rating.max()))
        step = next((step for step in STEPS if not _is_off(rating, step).any()), None)
        return cls(low, high, (high - low) / SPREAD, center, step=step)

    @classmethod
    def of_weights(cls, weight: np.ndarray) -> RatingScale:
        """The scale of weights of positives, on which the mean weight is 1."""
        unit, high = float(weight.mean()), float(weight.max())
        return cls(0.0, high, unit, is_log=True)

    def check(
        self, rated: Ratings, slack: float = 0.5, setting: str = "'rating_range'"
    ) -> None:
        """Raises ``ValueError`` if ratings have another scale than the fit.

        Ratings may exceed the range of the fit by a fraction :obj:`slack` of it; there
        is a warning if they exceed it by more than a tenth. :obj:`setting` is the name
        of the setting of the scale. Very large weights only give a warning.
        """
        if self.is_log:
            rated.pair.remark(
                rated.rating > FAR * self.high,
                f'has weights far above those of the fit, at most {self.high:g}, in',
                'correct them, unless they are right',
            )
            return
        rating, column = rated.rating, rated.column
        spread = self.high - self.low
        low, high = self.low - slack * spread, self.high + slack * spread
        column.refuse(
            (rating < low) | (rating > high),
            f'has a rating outside of those of the fit, [{self.low:g}, {self.high:g}] '
            f'(limits: [{low:g}, {high:g}]), in',
            f'convert it to their scale, drop it, or fit with {setting}',
        )
        beyond = np.maximum(self.low - rating, rating - self.high) > spread / 10
        column.remark(
            beyond,
            f'has a rating outside of those of the fit, [{self.low:g}, {self.high:g}], '
            f'used without clipping, in',
            f'correct it, or fit with {setting}, unless it is right',
        )
        if self.step is not None:
            kind = 'whole number' if self.step == 1 else f'multiple of {self.step:g}'
            column.remark(
                ~beyond & _is_off(rating, self.step),
                f'has a rating that is no {kind}, unlike all of the fit, in',
                'convert it to their scale, unless it is right',
            )

    def is_high(self, rating: np.ndarray) -> np.ndarray:
        """A mask of ratings in the upper quarter of the range: 4 and 5 on 1 to 5."""
        return rating >= self.low + 0.75 * (self.high - self.low)

    def to_unit_scale(self, rating: np.ndarray) -> np.ndarray:
        """Converts ratings or weights to the scale of the models."""
        value = (rating - self.center) / self.unit
        return np.log2(1 + value) if self.is_log else value

    def to_rating_scale(self, value: np.ndarray) -> np.ndarray:
        """Converts predictions of models to ratings, clipped to the range."""
        return np.clip(self.unit * value + self.center, self.low, self.high)

    def to_columns(
        self, score: np.ndarray, rating: str | None
    ) -> dict[str, np.ndarray]:
        """Predictions as columns: clipped ratings, and scores before clipping.

        If :obj:`rating` is None, for positives, there are only scores.
        """
        if rating is None:
            return {'score': score}
        clipped = self.to_rating_scale(score)
        return {rating: clipped, 'score': self.unit * score + self.center}


def _is_off(rating: np.ndarray, step: float) -> np.ndarray:
    """A mask of ratings that are no multiples of a step."""
    count = rating / step
    return ~np.isclose(count, count.round(), rtol=0, atol=1e-6)
