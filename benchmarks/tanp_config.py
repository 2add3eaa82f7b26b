"""What a run of TaNP is configured by."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import torch

from agnn_pyg.base.rules import NOT_NEGATIVE, POSITIVE, one_of, whole
from benchmarks import config
from tanp import TaNP, model_rules, setting_rules
from tanp.metrics import episode_metrics
from tanp.task_module import TaskModule


def arguments_of(thing: Callable[..., Any], leave_out: tuple[str, ...]) -> type:
    """A frozen dataclass of the arguments of a class, with its defaults."""
    hints = get_type_hints(thing.__init__)
    fields = [
        (name, hints[name], dataclasses.field(default=parameter.default))
        for name, parameter in inspect.signature(thing).parameters.items()
        if name not in leave_out
    ]
    doc = f'Arguments of {thing.__name__}, which documents them.'
    return dataclasses.make_dataclass(
        f'{thing.__name__}Arguments', fields, frozen=True, namespace={'__doc__': doc}
    )


TABLES = ('num_items', 'num_users', 'item_attributes', 'user_attributes')
# One task, whose metrics have the names that there are.
_SCORED = torch.zeros(2, 1, 10)
MONITORS = (
    'val_loss',
    *(f'val_{name}' for name in episode_metrics(*_SCORED, _SCORED[0] == 0)),
)
# As in :data:`benchmarks.config.RULES`.
RULES = (
    setting_rules.RULES
    | model_rules.RULES
    | {
        **{name: config.RULES[name] for name in ('num_knots', 'gradient_clip')},
        'min_task_size': whole(1),
        'kl_weight': NOT_NEGATIVE,
        'clustering_weight': NOT_NEGATIVE,
        'damping': POSITIVE,
        'monitor': one_of(MONITORS),
    }
)
ModelConfig = arguments_of(TaNP, (*TABLES, 'statistics'))
ModuleConfig = arguments_of(
    TaskModule, ('model', 'ks', 'relevant', 'centre', 'unit', 'seed')
)


@dataclasses.dataclass(frozen=True)
class EpisodesConfig:
    """Which tasks there are; see :func:`tanp.split_episodes`.

    Attributes:
        dataset: "lastfm", "ml-100k", "ml-1m", or "files" for own tables.
        ratings: Own table of ratings, a CSV, TSV or Parquet file.
        users: Own table of users' attributes, if there is one.
        items: Own table of items' attributes, if there is one.
        multi_valued: Columns of own tables that hold several values.
        user_attributes: Columns of users that are embedded.
        item_attributes: Columns of items that are embedded.
        min_count: Trained-on nodes a value must occur in to be embedded on its
            own rather than as a rare one.
        num_knots: Knots of numeric columns.
        support_size: Interactions of a new user that predictions rest on.
        min_size: Interactions a user needs; ten beyond the support without.
        max_size: Most interactions of a user.
        seen: Items of "warm" users or of their "episodes" alone are tested on.
        relevant: Labels above it count as relevant.
    """

    dataset: str
    ratings: str | None = None
    users: str | None = None
    items: str | None = None
    multi_valued: tuple[str, ...] = ()
    user_attributes: tuple[str, ...] = ()
    item_attributes: tuple[str, ...] = ()
    min_count: int = 5
    num_knots: int = 16
    support_size: int = 20
    min_size: int | None = None
    max_size: int = 200
    seen: str = 'warm'
    relevant: float = 0.5


@dataclasses.dataclass(frozen=True)
class StatisticsConfig:
    """What the model is told of items; see :class:`tanp.InteractionStatistics`.

    Attributes:
        use: Tell it anything at all.
    """

    use: bool = True
    rank: int = 16
    folds: int = 10
    damping: float = 10.0


@dataclasses.dataclass(frozen=True)
class TrainConfig(ModuleConfig):
    """Training: also the arguments of TaskModule, of fit and of EpisodeLoader.

    Attributes:
        tasks: Training users: all "warm" ones, or those with "episodes" alone.
        min_task_size: Interactions a warm user needs to be trained on.
        context_sizes: Smallest and largest training context; one number has no
            upper bound.
        query_sizes: Likewise of the query next to it; without, all that is left.
    """

    tasks: str = 'warm'
    min_task_size: int = 5
    context_sizes: tuple[int, ...] = (1, 20)
    query_sizes: tuple[int, ...] | None = None
    batch_size: int = 64
    epochs: int = 60
    patience: int | None = 6
    monitor: str = 'val_loss'
    ema_decay: float | None = None
    gradient_clip: float | None = None


@dataclasses.dataclass(frozen=True)
class TaNPConfig:
    """A whole run but for its seeds."""

    rules = RULES

    data: EpisodesConfig
    statistics: StatisticsConfig = StatisticsConfig()
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    train: TrainConfig = TrainConfig()
