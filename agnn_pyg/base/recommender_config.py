"""Settings that all recommenders have, in groups."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from agnn_pyg.base.checks import check_rating_range
from agnn_pyg.base.columns import STYPES
from agnn_pyg.base.config import (
    Config,
    Fraction,
    LearningRate,
    NonNegativeFloat,
    PositiveInt,
    Seed,
)


def _is_watched() -> bool:
    """Whether the process runs in a terminal or a notebook."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return terminal or 'ipykernel' in sys.modules


def _pairs(columns: Any) -> Any:
    """A mapping as pairs: JSON keys cannot be whole numbers."""
    return [*columns.items()] if isinstance(columns, dict) else columns


def _mapping(columns: Any) -> Any:
    is_pairs = isinstance(columns, list) and columns and isinstance(columns[0], list)
    return dict(columns) if is_pairs else columns


# Texts of errors instead of the types.
_COLUMN = {'must': 'the name of one column'}
_RANGE = {'must': 'a lowest and a highest rating, such as (1, 5), or None'}
_COLUMNS = f"a list such as ['age'], or a mapping from columns to one of {[*STYPES]}"
Column = Annotated[str | int, Field(json_schema_extra=_COLUMN)]
Columns = Annotated[
    list[str | int] | dict[str | int, Literal[tuple(STYPES)] | None] | None,
    BeforeValidator(_mapping),
    PlainSerializer(_pairs, when_used='json'),
    Field(json_schema_extra={'must': f'{_COLUMNS} or None'}),
]


class ColumnsConfig(Config):
    """Tables.

    Attributes:
        reserved: Names of columns that a recommender adds to its results.
        ratings_only: Names of settings that have no effect on positives.
        positives_only: Names of settings that have no effect on ratings.
    """

    reserved: ClassVar[tuple[str, ...]] = ()
    ratings_only: ClassVar[tuple[str, ...]] = ('rating_range',)
    positives_only: ClassVar[tuple[str, ...]] = ('weight',)

    user: Column = 'user'
    """The column of user ids."""
    item: Column = 'item'
    """The column of item ids."""
    rating: Column | None = 'rating'
    """The column of ratings. If None, each row is a positive interaction, such as a
    click or a purchase, and predictions rank items."""
    weight: Column | None = None
    """The column of weights or counts of interactions, if rating is None."""
    rating_range: tuple[float, float] | None = Field(None, json_schema_extra=_RANGE)
    """Lowest and highest rating; predictions are clipped to it. If None, the range of
    the ratings of the fit. It cannot change after the fit."""
    user_attributes: Columns = None
    """Attribute columns of users, or a mapping from columns to their types ('numeric',
    'categorical', 'multi', 'date', 'text', 'vector' or None, see
    :class:`~agnn_pyg.AttributeEncoder`). By default, all columns are used except those
    in which most values occur once, such as names and ids; a warning names them.
    Numbers are read as quantities, so convert codes to texts."""
    item_attributes: Columns = None
    """Attribute columns of items, in the same form as user_attributes."""

    @model_validator(mode='after')
    def _suits(self) -> ColumnsConfig:
        check_rating_range(self.rating_range)
        number = self.weight if self.rating is None else self.rating
        names = [n for n in (self.user, self.item, number) if n is not None]
        if len({*names}) < len(names) or {*names} & {*self.reserved}:
            raise ValueError(
                f"'user', 'item', 'rating' and 'weight' must be different columns, and "
                f'none of {self.reserved}, which results contain (got {names}); rename '
                f'the columns of your tables'
            )
        return self

    def check_settings(self) -> None:
        """Raises ``ValueError`` if a setting has no effect with the others."""
        is_implicit = self.rating is None
        unused = self.ratings_only if is_implicit else self.positives_only
        self._check_unused(unused, 'rating')

    def _check_unused(self, names: Iterable[str], other: str) -> None:
        """Raises ``ValueError`` if one of the names is not at its default."""
        defaults = self.defaults()
        for name in names:
            value = getattr(self, name)
            if value != defaults[name]:
                raise ValueError(
                    f"'{name}' has no effect if '{other}' is "
                    f'{getattr(self, other)!r} (got {value!r}); leave it out'
                )


class EncoderConfig(Config):
    """Encoding of attributes."""

    min_count: PositiveInt = 5
    """Minimum number of rated users or items with a value for the network to
    distinguish it from rarer values. The kernel model of AGNNRecommender distinguishes
    all values."""
    num_knots: Annotated[int, Ge(2)] = 16
    """Number of knots of a numeric column."""


class TrainingConfig(Config):
    """Training."""

    epochs: PositiveInt = 10
    """Number of passes over the training data."""
    batch_size: PositiveInt | None = None
    """Number of ratings or users in a training batch."""
    lr: LearningRate = 3e-3
    """Learning rate."""
    weight_decay: NonNegativeFloat = 1e-2
    """Weight decay of AdamW."""
    ema_decay: Fraction | None = 0.99
    """Decay of the moving average of weights that is validated and saved."""
    patience: PositiveInt | None = None
    """Number of epochs without improvement in validation before early stopping."""
    seed: Seed = 0
    """Seed of all random numbers."""
    progress: Annotated[bool, Field(exclude=True, default_factory=_is_watched)]
    """Show progress bars, by default in a terminal or notebook; not saved."""
    accelerator: str = 'cpu'
    """Where to train: an accelerator of Lightning, such as 'cpu' or 'auto'."""

    def check_fit(self, has_validation: bool) -> None:
        """Raises ``ValueError`` if the settings need data that is missing."""
        if self.patience is not None and not has_validation:
            raise ValueError(
                f"'patience' needs 'validation' (got {self.patience} and no validation "
                f'ratings); pass some, or set it to None'
            )
