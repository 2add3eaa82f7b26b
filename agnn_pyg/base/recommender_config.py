"""Settings that recommenders have in common, in groups."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from agnn_pyg.base.columns import STYPES
from agnn_pyg.base.config import (
    Config,
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Seed,
)

# What error texts say in place of the types.
_COLUMN = {'must': 'the name of one column'}
_COLUMNS = {
    'must': f"a list of columns such as ['age'], or a mapping from columns to one of "
    f'{[*STYPES]} or None'
}
Column = Annotated[str | int, Field(json_schema_extra=_COLUMN)]
Columns = Annotated[
    list[str | int] | dict[str, Literal[tuple(STYPES)] | None],
    Field(json_schema_extra=_COLUMNS),
]


class ColumnsConfig(Config):
    """Columns of the tables.

    Attributes:
        reserved: Names of columns that a recommender adds to what it returns.
    """

    reserved: ClassVar[tuple[str, ...]] = ()

    user: Column = Field('user', description='The column of user ids.')
    item: Column = Field('item', description='The column of item ids.')
    rating: Column = Field('rating', description='The column of ratings.')
    user_attributes: Columns | None = Field(
        None,
        description='Attribute columns of users, or a mapping from columns to their '
        'types, see :class:`~agnn_pyg.AttributeEncoder`. Without, all columns are used '
        'except those in which most values occur once, such as names, and those of '
        'neither numbers nor texts, such as dates; a warning names them.',
    )
    item_attributes: Columns | None = Field(
        None, description='Attribute columns of items, likewise.'
    )

    @model_validator(mode='after')
    def _distinct_columns(self) -> ColumnsConfig:
        names = [self.user, self.item, self.rating]
        if len({*names}) < len(names):
            raise ValueError(
                f"'user', 'item' and 'rating' must be three columns (got {names}); "
                f'give the name of each'
            )
        for name in names:
            if name in self.reserved:
                raise ValueError(
                    f"'user', 'item' and 'rating' must not be {self.reserved}, which "
                    f'are columns of predictions (got {names}); rename the column of '
                    f'your tables'
                )
        return self


class EncoderConfig(Config):
    """Encoding of attributes."""

    min_count: PositiveInt = Field(
        5,
        description='Rated users or items in which a value must occur to have a token '
        'of its own.',
    )
    num_knots: int = Field(16, ge=2, description='Knots of numeric columns.')


class TrainingConfig(Config):
    """Training."""

    epochs: PositiveInt = Field(10, description='Passes over the training data.')
    batch_size: PositiveInt | None = Field(
        None, description='Ratings or users in a training batch.'
    )
    lr: PositiveFloat = Field(3e-3, description='Learning rate.')
    weight_decay: NonNegativeFloat = Field(1e-2, description='Weight decay of AdamW.')
    ema_decay: Fraction | None = Field(
        0.99,
        description='Decay of the moving average of the weights, which is validated '
        'and kept.',
    )
    patience: PositiveInt | None = Field(
        None,
        description='Epochs without a better validation after which the training '
        'stops.',
    )
    seed: Seed = Field(0, description='Seed of all random numbers.')
    progress: bool = Field(False, description='Show progress bars.')
    accelerator: str = Field(
        'cpu',
        description="Where to train: an accelerator of Lightning, such as 'cpu' or "
        "'auto'.",
    )

    def check_fit(self, has_validation: bool) -> None:
        """Raises ``ValueError`` if the data or the machine do not suit the settings."""
        if self.patience is not None and not has_validation:
            raise ValueError(
                f"'patience' needs 'validation' to watch (got {self.patience} and no "
                f'ratings for that); pass some, or set it to None'
            )
        from pytorch_lightning.accelerators import AcceleratorRegistry as registry

        names = registry.available_accelerators()
        here = [n for n in names if registry[n]['accelerator'].is_available()]
        here += ['auto', *(['gpu'] if {'cuda', 'mps'} & {*here} else [])]
        if self.accelerator not in here:
            raise ValueError(
                f"'accelerator' must be one that is available here, {here} (got "
                f'{self.accelerator!r})'
            )
