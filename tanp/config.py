"""Settings of the models and of the recommender."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

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
    check_argument,
)
from agnn_pyg.base.recommender_config import (
    ColumnsConfig,
    EncoderConfig,
    TrainingConfig,
)

S = TypeVar('S')
Likelihood = Literal['bernoulli', 'gaussian']
Widths = Annotated[tuple[PositiveInt, ...], MinLen(1)]
LatentWidths = Annotated[tuple[PositiveInt, ...], MinLen(3)]
# A smallest and a largest size; no largest size is no bound.
Sizes = tuple[NonNegativeInt, NonNegativeInt | None]
_SIZES = {'must': 'a smallest and a largest size, in this order (None for no bound)'}
_LATENT = {'must': 'a list of widths of 3 or more layers, or None'}


def setting(default: Any, description: str, **extra: Any) -> Any:
    """A field with a description."""
    return Field(default, description=description, **extra)


class TaNPConfig(Config):
    """Layers of :class:`~tanp.TaNP`."""

    item_ids: bool = setting(True, 'Learn a vector for each item.')
    user_ids: bool = setting(False, 'Likewise for each user of the fit.')
    id_dropout: DropoutRate = setting(0.0, 'Fraction of ids hidden in training.')
    embedding_channels: tuple[PositiveInt, PositiveInt] = setting(
        (32, 16), 'Widths of item and user embeddings.'
    )
    latent_channels: LatentWidths | None = setting(
        (64, 64, 32, 32, 32),
        'Widths of the latent path: of its set encoder, of the layer '
        'before the heads and of z; None leaves it out.',
        json_schema_extra=_LATENT,
    )
    task_channels: Widths = setting((128, 64, 64), 'Widths of the task encoder.')
    num_clusters: NonNegativeInt = setting(7, 'Centers of the memory, or 0.')
    temperature: PositiveFloat = setting(1.0, 'Temperature of the memory.')
    squared_distance: bool = setting(True, 'Square distances to centers (unpublished).')
    decoder_channels: Widths = setting((128, 128, 128), 'Widths of the decoder.')
    modulation: Literal['film', 'gating'] = setting(
        'film', 'How the task modulates the decoder.'
    )
    residual_modulation: bool = setting(True, 'Scale by 1 + gamma, not by gamma.')
    predict_support: bool = setting(False, 'Train on the support, too, as published.')
    dropout: DropoutRate = setting(0.0, 'Dropout of encoders and decoder.')


class AttentiveConfig(TaNPConfig):
    """Layers of :class:`~tanp.AttentiveTaNP`."""

    item_ids: bool = False
    latent_channels: LatentWidths | None = Field(None, json_schema_extra=_LATENT)
    task_channels: Widths = (64, 64)
    num_clusters: NonNegativeInt = 0
    decoder_channels: Widths = (64, 64)
    attention_heads: NonNegativeInt = setting(4, 'Heads of the attention, or 0.')
    num_gps: NonNegativeInt = setting(4, 'Gaussian processes, or 0.')
    pool_by_sign: bool = setting(True, 'Average residuals of each sign separately.')

    @model_validator(mode='after')
    def _keeps_labels(self) -> AttentiveConfig:
        if self.predict_support:
            raise ValueError(
                "'predict_support' must be False of AttentiveTaNP, where support items "
                "would read their own labels (got True); use 'TaNP'"
            )
        return self


class StatisticsConfig(Config):
    """Item statistics, see :class:`~tanp.ItemStatistics`."""

    rank: PositiveInt = setting(16, 'Width of item vectors.')
    folds: Annotated[int, Ge(2)] = setting(10, 'User folds of their cross-fit.')
    damping: PositiveFloat = setting(10.0, 'Damping of the item kernels.')


class LossConfig(Config):
    """Loss, see :func:`~tanp.tanp_loss`."""

    reduction: Literal['task', 'point'] = setting('task', 'What weighs the same.')
    kl_weight: NonNegativeFloat = setting(1.0, 'Weight of the KL divergence.')
    kl_per_point: bool = setting(True, 'Divide it by the size of a task.')
    clustering_weight: NonNegativeFloat = setting(0.1, 'Weight of the clustering.')
    published_cluster_target: bool = setting(False, 'Cluster towards ones.')


class EpisodesConfig(Config):
    """Model and episodes."""

    model: Literal['AttentiveTaNP', 'TaNP'] = setting(
        'AttentiveTaNP',
        'Our model, which reads item statistics, or that of the paper, '
        'which reads ids and attributes; :data:`tanp.config.PAPER` has its layers.',
    )
    likelihood: Likelihood | None = setting(
        None,
        "'bernoulli' for labels 0 and 1 or 'gaussian' for ratings. "
        'Without, the former if all ratings are 0 or 1.',
    )
    rating_range: tuple[float, float] | None = setting(
        None, 'Lowest and highest rating. Without, those of the fit.'
    )
    scale_ratings: bool = setting(
        True, 'Center ratings and bring them to the spread of 1 to 5.'
    )
    support_sizes: Sizes = setting(
        (1, 20),
        'Smallest and largest support in training; it should cover those of serving.',
        json_schema_extra=_SIZES,
    )
    query_sizes: Sizes | None = setting(
        (180, 180),
        'Smallest and largest query in training, as far as there are '
        'interactions, drawn again every epoch. None takes all.',
        json_schema_extra=_SIZES,
    )
    min_interactions: Annotated[int, Ge(2)] | None = setting(
        None,
        'Interactions of users that are trained on; statistics count all. '
        'Without, 5, or 2 where most users have fewer.',
    )
    ensemble_size: PositiveInt = setting(
        1,
        'Models of different seeds whose predictions are averaged; two or '
        'more give predictions a spread.',
    )

    @model_validator(mode='after')
    def _ordered_sizes(self) -> EpisodesConfig:
        return check_sizes(self)


class TaNPRecommenderConfig(
    ColumnsConfig,
    EncoderConfig,
    EpisodesConfig,
    StatisticsConfig,
    AttentiveConfig,
    LossConfig,
    TrainingConfig,
):
    """Settings of :class:`~tanp.TaNPRecommender`."""

    reserved = ('score', 'std', 'rank')

    num_knots: Annotated[int, Ge(2)] = 8
    dropout: DropoutRate = 0.2
    reduction: Literal['task', 'point'] = 'point'
    optimizer: Literal['adamw', 'adam'] = setting('adamw', 'Optimizer.')
    epochs: PositiveInt = 30
    batch_size: PositiveInt = setting(64, 'Users in a batch.')
    weight_decay: NonNegativeFloat = 1e-4
    ema_decay: Fraction | None = 0.98

    @model_validator(mode='after')
    def _keeps_labels(self) -> TaNPRecommenderConfig:
        return self if self.model == 'TaNP' else super()._keeps_labels()

    def part(self, group: type[Config]) -> dict[str, Any]:
        """The settings of one group, as keyword arguments."""
        return {name: getattr(self, name) for name in group.model_fields}


def check_sizes(sized: S) -> S:
    """Raises ``ValueError`` unless an object's sizes of supports and queries suit."""
    for name, least in (('support_sizes', 1), ('query_sizes', 0)):
        sizes = check_argument(name, getattr(sized, name), Sizes | None)
        low, high = sizes or (least, None)
        if low < least or (high is not None and low > high):
            raise ValueError(
                f"'{name}' must be {_SIZES['must']}, from {least} on (got {sizes})"
            )
    return sized


# The model of the paper, without the errors of the published code.
PAPER = {'model': 'TaNP', **TaNPConfig.defaults()}
# The settings of the published code: its sizes, episodes, loss and errors.
PUBLISHED = PAPER | {
    'likelihood': 'gaussian',
    'scale_ratings': False,
    'support_sizes': (20, None),
    'query_sizes': (0, None),
    'user_ids': True,
    'squared_distance': False,
    'residual_modulation': False,
    'predict_support': True,
    'reduction': 'task',
    'kl_per_point': False,
    'published_cluster_target': True,
    'optimizer': 'adam',
    'lr': 1e-4,
    'weight_decay': 0.0,
    'ema_decay': None,
    'batch_size': 32,
    'epochs': 150,
}
