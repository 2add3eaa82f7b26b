"""Settings of the models and of the recommender."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, MinLen
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

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

Widths = Annotated[tuple[PositiveInt, ...], MinLen(1)]
LatentWidths = Annotated[tuple[PositiveInt, ...], MinLen(3)] | None


def _ascend(sizes: tuple[int, int | None]) -> tuple[int, int | None]:
    if sizes[1] is not None and sizes[0] > sizes[1]:
        must = 'must be a smallest and a largest size, or None for no bound'
        raise PydanticCustomError('sizes', must)
    return sizes


SupportSizes = Annotated[tuple[PositiveInt, int | None], AfterValidator(_ascend)]
QuerySizes = Annotated[tuple[NonNegativeInt, int | None], AfterValidator(_ascend)]


class TaNPConfig(Config):
    """Layers of :class:`~tanp.TaNP`."""

    item_ids: bool = True
    """Learn a vector for each item."""
    user_ids: bool = False
    """Learn a vector for each user of the fit."""
    embedding_channels: tuple[PositiveInt, PositiveInt] = (32, 16)
    """Widths of the two layers of embeddings."""
    latent_channels: LatentWidths = (64, 64, 32, 32, 32)
    """Widths of the latent path: its set encoder, one layer, z. None leaves it out."""
    task_channels: Widths = (128, 64, 64)
    """Widths of the task encoder."""
    num_clusters: NonNegativeInt = 7
    """Centers of the cluster memory, or 0."""
    temperature: PositiveFloat = 1.0
    """Temperature of the cluster memory."""
    squared_distance: bool = True
    """Square the distances to centers. The published code does not."""
    decoder_channels: Widths = (128, 128, 128)
    """Widths of the decoder."""
    modulation: Literal['film', 'gating'] = 'film'
    """How the task modulates the decoder."""
    residual_modulation: bool = True
    """Scale by 1 + gamma. The published code scales by gamma."""
    predict_support: bool = False
    """Train on predictions of the support, too, as the published code does."""
    dropout: DropoutRate = 0.0
    """Dropout of encoders and decoder."""


class AttentiveConfig(TaNPConfig):
    """Layers of :class:`~tanp.AttentiveTaNP`."""

    item_ids: bool = False
    latent_channels: LatentWidths = None
    task_channels: Widths = (64, 64)
    num_clusters: NonNegativeInt = 0
    decoder_channels: Widths = (64, 64)
    predict_support: Literal[False] = False  # support items would read their own labels
    attention_heads: NonNegativeInt = 4
    """Heads of the attention, or 0."""
    num_gps: NonNegativeInt = 4
    """Gaussian processes, or 0."""
    pool_by_sign: bool = True
    """Average positive and other residuals separately."""


class StatisticsConfig(Config):
    """Item statistics, see :class:`~tanp.ItemStatistics`."""

    rank: PositiveInt = 16
    """Width of item vectors."""
    folds: Annotated[int, Ge(2)] = 10
    """Folds of users over which item vectors are cross-fitted."""
    damping: PositiveFloat = 10.0
    """Damping of the item kernels."""


class LossConfig(Config):
    """Loss, see :func:`~tanp.tanp_loss`."""

    reduction: Literal['task', 'point'] = 'task'
    """Whether all tasks weigh the same, or all interactions."""
    kl_weight: NonNegativeFloat = 1.0
    """Weight of the KL divergence."""
    kl_per_point: bool = True
    """Divide it by the number of predictions. The published code does not."""
    clustering_weight: NonNegativeFloat = 0.1
    """Weight of the clustering loss."""
    published_cluster_target: bool = False
    """Cluster towards a target of ones, as the published code does."""


class EpisodesConfig(Config):
    """Model and episodes."""

    model: Literal['AttentiveTaNP', 'TaNP'] = 'AttentiveTaNP'
    """Our model, which reads item statistics, or that of the paper, which reads ids and
    attributes; :data:`tanp.config.PAPER` has its layers."""
    likelihood: Literal['bernoulli', 'gaussian'] | None = None
    """'bernoulli' for labels 0 and 1 or 'gaussian' for ratings. Without, the former if
    all ratings are 0 or 1."""
    scale_ratings: bool = True
    """Center ratings and bring them to the spread of 1 to 5."""
    support_sizes: SupportSizes = (1, 20)
    """Smallest and largest support in training; it should cover those of serving."""
    query_sizes: QuerySizes | None = (180, 180)
    """Smallest and largest query in training, as far as there are interactions, drawn
    again every epoch. None takes all."""
    min_interactions: Annotated[int, Ge(2)] | None = None
    """Interactions of users that are trained on; statistics count all. Without, 5, or 2
    where most users have fewer."""
    ensemble_size: PositiveInt = 1
    """Models of different seeds whose predictions are averaged; two have a spread."""


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
    ratings_only = (*ColumnsConfig.ratings_only, 'likelihood', 'scale_ratings')
    positives_only = (*ColumnsConfig.positives_only, 'negatives')

    negatives: PositiveInt = 4
    """Items that are drawn for each positive interaction, where rating is None."""
    num_knots: Annotated[int, Ge(2)] = 8
    predict_support: bool = False
    dropout: DropoutRate = 0.2
    reduction: Literal['task', 'point'] = 'point'
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 64
    """Users in a training batch."""
    weight_decay: NonNegativeFloat = 1e-4
    ema_decay: Fraction | None = 0.98

    def check_settings(self) -> None:
        super().check_settings()
        unused = {'predict_support'}
        if self.model == 'TaNP':
            unused = AttentiveConfig.model_fields.keys() - TaNPConfig.model_fields
            unused |= StatisticsConfig.model_fields.keys()
        self._check_unused(sorted(unused), 'model')


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
    'batch_size': 32,
    'epochs': 150,
    'ema_decay': None,
    'lr': 1e-4,
    'weight_decay': 0.0,  # AdamW without it is Adam
}
