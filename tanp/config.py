"""Settings of the model and of the recommender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from pydantic import Field, model_validator

from agnn_pyg.base.config import (
    Config,
    DropoutRate,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from agnn_pyg.base.recommender_config import (
    ColumnsConfig,
    EncoderConfig,
    TrainingConfig,
)

Likelihood = Literal['bernoulli', 'gaussian']
Widths = Annotated[tuple[PositiveInt, ...], MinLen(1)]
# Arguments that read what statistics say of other users.
READERS = ('attention_heads', 'processes')


class TaNPOptions(Config):
    """Arguments of :class:`~tanp.TaNP` that a recommender may choose."""

    item_ids: bool = True
    id_dropout: DropoutRate = 0.0
    embedding_channels: tuple[PositiveInt, PositiveInt] = (32, 16)
    # Of the set encoder, of the layer before the heads and of z.
    latent_channels: Annotated[tuple[PositiveInt, ...], MinLen(3)] | None = Field(
        (64, 64, 32, 32, 32),
        json_schema_extra={'must': 'a list of widths of 3 or more layers, or None'},
    )
    task_channels: Widths = (128, 64, 64)
    num_clusters: NonNegativeInt = 7
    temperature: PositiveFloat = 1.0
    squared_distance: bool = True
    decoder_channels: Widths = (128, 128, 128)
    modulation: Literal['film', 'gating'] = 'film'
    residual_modulation: bool = True
    target: Literal['query', 'all'] = 'query'
    dropout: DropoutRate = 0.0
    attention_heads: NonNegativeInt = 0
    processes: NonNegativeInt = 0
    signed_pools: bool = False


class TaNPArguments(TaNPOptions):
    """Arguments of :class:`~tanp.TaNP` except tables."""

    num_items: PositiveInt
    num_users: NonNegativeInt = 0
    user_ids: bool = False
    likelihood: Likelihood = 'bernoulli'


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` unless a model can be made of these arguments."""
    TaNPArguments(**{name: arguments[name] for name in TaNPArguments.model_fields})
    statistics, target = arguments['statistics'], arguments['target']
    if arguments['signed_pools'] and statistics is None:
        raise ValueError(
            "'signed_pools' needs 'statistics' for the expected labels (got None)"
        )
    for name in READERS:
        if arguments[name] and (statistics is None or target == 'all'):
            raise ValueError(
                f"'{name}' needs 'statistics' (got {statistics}) and 'target' 'query' "
                f'(got {target!r}), else items would attend to their own labels'
            )


class EpisodesConfig(Config):
    """Episodes and models."""

    support_size: PositiveInt = Field(
        20,
        description='The largest support that serving will meet; training uses '
        'supports of 1 to so many interactions.',
    )
    max_size: Annotated[int, Ge(2)] = Field(
        200,
        description='Interactions of a user that an epoch reads at most, drawn again '
        'every epoch. Statistics are of all interactions; users with fewer than five '
        'are not trained on, unless most have fewer.',
    )
    likelihood: Likelihood | None = Field(
        None,
        description=':obj:`"bernoulli"` for labels 0 and 1 or :obj:`"gaussian"` for '
        'ratings. Without, the former if all ratings are 0 or 1.',
    )
    statistics: bool = Field(
        True,
        description="Give the model statistics of other users' interactions, see "
        ':class:`~tanp.InteractionStatistics`, and let it read them with attention: '
        'the choice of the benchmarks. Without, a model reads ids and attributes '
        'alone.',
    )
    members: PositiveInt = Field(
        1,
        description='Models of different seeds whose predictions are averaged; two or '
        'more give predictions a spread.',
    )
    model_options: TaNPOptions | None = Field(
        None,
        description='Further arguments of :class:`~tanp.TaNP`, in place of those '
        'chosen.',
    )

    @model_validator(mode='after')
    def _leaves_a_query(self) -> EpisodesConfig:
        if self.support_size >= self.max_size:
            raise ValueError(
                f"'max_size' must exceed 'support_size' ({self.support_size}), so that "
                f'a query is left (got {self.max_size})'
            )
        return self


class TaNPRecommenderConfig(
    ColumnsConfig, EncoderConfig, EpisodesConfig, TrainingConfig
):
    """Settings of :class:`~tanp.recommender.TaNPRecommender`."""

    reserved = ('std', 'rank')

    num_knots: Annotated[int, Ge(2)] = 8
    epochs: PositiveInt = 30
    batch_size: PositiveInt = Field(64, description='Users in a batch.')
    weight_decay: NonNegativeFloat = 1e-4
    ema_decay: Fraction | None = 0.98
