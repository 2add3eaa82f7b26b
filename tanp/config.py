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
        must = 'must be a smallest and a largest size, or None for no upper bound'
        raise PydanticCustomError('sizes', must)
    return sizes


SupportSizes = Annotated[tuple[PositiveInt, int | None], AfterValidator(_ascend)]
QuerySizes = Annotated[tuple[NonNegativeInt, int | None], AfterValidator(_ascend)]


class TaNPConfig(Config):
    """Settings of the layers of :class:`~tanp.TaNP`."""

    item_ids: bool = True
    """Learn an embedding of each item."""
    user_ids: bool = False
    """Learn an embedding of each user of the fit."""
    embedding_channels: tuple[PositiveInt, PositiveInt] = (32, 16)
    """Widths of the two embedding layers."""
    latent_channels: LatentWidths = (64, 64, 32, 32, 32)
    """Widths of the latent path: set encoder, one layer, z. None disables the path."""
    task_channels: Widths = (128, 64, 64)
    """Widths of the task encoder."""
    num_clusters: NonNegativeInt = 7
    """Number of centers of the cluster memory; 0 disables it."""
    temperature: PositiveFloat = 1.0
    """Temperature of the cluster memory."""
    squared_distance: bool = True
    """Square the distances to cluster centers; the published code does not."""
    decoder_channels: Widths = (128, 128, 128)
    """Widths of the decoder."""
    modulation: Literal['film', 'gating'] = 'film'
    """How the task modulates the decoder."""
    residual_modulation: bool = True
    """Scale by 1 + gamma; the published code scales by gamma."""
    predict_support: bool = False
    """Also train on predictions of the support, as the published code does; only for
    TaNP."""
    dropout: DropoutRate = 0.0
    """Dropout rate of the encoders and the decoder."""


class AttentiveConfig(TaNPConfig):
    """Settings of the layers of :class:`~tanp.AttentiveTaNP`."""

    item_ids: bool = False
    latent_channels: LatentWidths = None
    task_channels: Widths = (64, 64)
    num_clusters: NonNegativeInt = 0
    decoder_channels: Widths = (64, 64)
    predict_support: Literal[False] = False  # support labels are inputs
    attention_heads: NonNegativeInt = 4
    """Number of attention heads; 0 disables the attention."""
    num_gps: NonNegativeInt = 4
    """Number of Gaussian processes; 0 disables them."""
    pool_by_sign: bool = True
    """Average positive and other support residuals separately."""


class StatisticsConfig(Config):
    """Settings of :class:`~tanp.ItemStatistics`."""

    rank: PositiveInt = 16
    """Width of item vectors."""
    folds: Annotated[int, Ge(2)] = 10
    """Number of user folds for cross-fitting item vectors."""
    damping: PositiveFloat = 10.0
    """Damping of the item kernels."""


class LossConfig(Config):
    """Settings of :func:`~tanp.tanp_loss`."""

    reduction: Literal['task', 'point'] = 'task'
    """Weigh all tasks equally, or all interactions ('point')."""
    kl_weight: NonNegativeFloat = 1.0
    """Weight of the KL divergence."""
    kl_per_point: bool = True
    """Divide the KL by the number of predictions; the published code does not."""
    clustering_weight: NonNegativeFloat = 0.1
    """Weight of the clustering loss."""
    published_cluster_target: bool = False
    """Use a clustering target of ones, as the published code does."""


class EpisodesConfig(Config):
    """Settings of the model and the episodes."""

    model: Literal['AttentiveTaNP', 'TaNP'] = 'AttentiveTaNP'
    """AttentiveTaNP is our model and reads item statistics. TaNP is the paper's model;
    it reads ids and attributes; :data:`tanp.config.PAPER` has its layers."""
    likelihood: Literal['bernoulli', 'gaussian'] | None = None
    """'bernoulli' for labels 0 and 1, 'gaussian' for ratings. None selects 'bernoulli'
    if all ratings are 0 or 1, else 'gaussian'."""
    scale_ratings: bool = True
    """Center ratings and scale their range to the width of 1 to 5."""
    support_sizes: SupportSizes = (1, 20)
    """Smallest and largest support in training; cover the sizes at prediction time."""
    query_sizes: QuerySizes | None = (180, 180)
    """Smallest and largest query in training, limited by the interactions of a user and
    drawn again every epoch. None takes all interactions."""
    min_interactions: Annotated[int, Ge(2)] | None = None
    """Fewest interactions of a training user; statistics count all users. None means 5,
    or 2 if most users have fewer than 5."""
    ensemble_size: PositiveInt = 1
    """Number of models with different seeds to average; two or more give a spread."""


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
    """Items drawn for each positive interaction if rating is None."""
    num_knots: Annotated[int, Ge(2)] = 8
    predict_support: bool = False
    dropout: DropoutRate = 0.2
    reduction: Literal['task', 'point'] = 'point'
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 64
    """Number of users in a training batch."""
    weight_decay: NonNegativeFloat = 1e-4
    ema_decay: Fraction | None = 0.98

    def check_settings(self) -> None:
        super().check_settings()
        unused = {'predict_support'}
        if self.model == 'TaNP':
            unused = AttentiveConfig.model_fields.keys() - TaNPConfig.model_fields
            unused |= StatisticsConfig.model_fields.keys()
        self._check_unused(sorted(unused), 'model')
        if self.latent_channels is None:
            self._check_unused(('kl_weight', 'kl_per_point'), 'latent_channels')
        if not self.num_clusters:
            unused = 'temperature', 'squared_distance', 'clustering_weight'
            self._check_unused((*unused, 'published_cluster_target'), 'num_clusters')


# The model of the paper, without the errors of the published code.
PAPER = {'model': 'TaNP', **TaNPConfig.defaults()}
# The settings of the published code: sizes, episodes, loss and known errors.
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
