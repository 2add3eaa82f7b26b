"""One run of TaNP: a config, tables, episodes and a seed to a report's content."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.training import FitResult, fit
from benchmarks.command import Options
from benchmarks.episode_metrics import calibration, score_episodes
from benchmarks.support import CHANGES, truncated
from benchmarks.tanp_config import EpisodesConfig, TaNPConfig
from data.tables import RatingTables
from tanp import (
    EpisodeLoader,
    Episodes,
    EpisodeSplit,
    Prediction,
    TaNP,
    predict,
    split_episodes,
)
from tanp.statistics import InteractionStatistics
from tanp.task_module import TaskModule

BATCH = 256  # tasks, where nothing is trained


def episodes_of(config: TaNPConfig, tables: RatingTables, seed: int) -> EpisodeSplit:
    """The episodes of one split."""
    data = config.data
    return split_episodes(
        tables.ratings,
        tables.users['user'],
        tables.items['item'],
        support_size=data.support_size,
        min_size=data.min_size,
        max_size=data.max_size,
        seen=data.seen,
        seed=seed,
    )


def run_tanp(
    config: TaNPConfig,
    tables: RatingTables,
    split: EpisodeSplit,
    seed: int,
    options: Options,
) -> dict[str, Any]:
    """Trains, selects the epoch on validation, and scores the test part once.

    Returns:
        The model's part of a report: metrics, best epoch, history, times,
        quality by support size, sensitivity to the support, clusters.
    """
    start = time.perf_counter()
    model, result = train_tanp(config, tables, split, seed, options)
    train_s = time.perf_counter() - start

    def score(episodes: Episodes) -> dict[str, float | None]:
        return score_tanp(model, episodes, config)

    content = {
        'num_parameters': sum(p.numel() for p in model.parameters()),
        'best_epoch': result.best_epoch,
        'metrics': {'val': score(split.validation), 'test': score(split.test)},
        'support_sizes': {k: score(cut) for k, cut in truncated(split.test).items()},
        'sensitivity': {k: score(change(split.test)) for k, change in CHANGES.items()},
        'history': result.history,
    }
    predicted = _predict(model, split.test)
    if model.likelihood == 'bernoulli':
        content['calibration'] = calibration(split.test, predicted.mean)
    if predicted.assignment is not None:
        content['clusters'] = _export_clusters(
            predicted.assignment, tables.users['user'], split.test, options
        )
    content['time'] = {
        'train_s': train_s,
        'per_epoch_s': train_s / len(result.history),
        'evaluate_s': time.perf_counter() - start - train_s,
    }
    return content


def _predict(model: TaNP, episodes: Episodes) -> Prediction:
    return predict(model, EpisodeLoader(episodes, BATCH))


def score_tanp(
    model: TaNP, episodes: Episodes, config: TaNPConfig
) -> dict[str, float | None]:
    """The metrics of a trained model, means over tasks."""
    predicted = _predict(model, episodes).mean
    return score_episodes(episodes, predicted, config.data.relevant, model.likelihood)


def train_tanp(
    config: TaNPConfig,
    tables: RatingTables,
    split: EpisodeSplit,
    seed: int,
    options: Options,
) -> tuple[TaNP, FitResult]:
    """Trains on training users, and selects the epoch on validation ones."""
    # The last model and its trainer refer to each other, and counts of all pairs of
    # items would stay until Python looks for that.
    gc.collect()
    train = config.train
    module, loader = build_training(config, tables, split, seed)
    result = fit(
        module,
        loader,
        EpisodeLoader(split.validation, BATCH),
        **_shared(train, fit),
        folder=options.folder,
        resume=options.resume,
        progress=options.progress,
        accelerator='gpu' if options.device.startswith('cuda') else options.device,
    )
    return module.model.to(options.device), result


def build_training(
    config: TaNPConfig, tables: RatingTables, split: EpisodeSplit, seed: int
) -> tuple[TaskModule, EpisodeLoader]:
    """An untrained model, and the tasks of its training users."""
    train = config.train
    if train.tasks not in ('warm', 'episodes'):
        raise ValueError(
            f"'train.tasks' must be 'warm' or 'episodes' (got {train.tasks!r})"
        )
    tasks = split.train
    if train.tasks == 'warm':
        tasks = split.warm.at_least(train.min_task_size)
    loader = EpisodeLoader(
        tasks,
        train.batch_size,
        context_sizes=_bounds('context_sizes', train.context_sizes),
        query_sizes=_bounds('query_sizes', train.query_sizes),
        shuffle=True,
        seed=seed,
    )
    torch.manual_seed(seed)
    model = build_model(config, tables, split, seed)
    module = TaskModule(
        model, relevant=config.data.relevant, seed=seed, **_shared(train, TaskModule)
    )
    return module, loader


def build_model(
    config: TaNPConfig, tables: RatingTables, split: EpisodeSplit, seed: int
) -> TaNP:
    """An untrained model of a config, with what it is told of items."""
    data, warm = config.data, split.warm
    items, users = tables.items, tables.users
    statistics = None
    if config.statistics.use:
        statistics = InteractionStatistics.fit(
            warm,
            len(items),
            len(users),
            relevant=data.relevant,
            seed=seed,
            **_shared(config.statistics, InteractionStatistics.fit),
        )
    return TaNP(
        len(items),
        len(users),
        item_attributes=_attributes(data.item_attributes, items, warm.item, data),
        user_attributes=_attributes(data.user_attributes, users, warm.user, data),
        statistics=statistics,
        **dataclasses.asdict(config.model),
    )


def _attributes(
    columns: tuple[str, ...], frame: pd.DataFrame, trained: Tensor, data: EpisodesConfig
) -> TokenBags | None:
    """Side information, in the vocabulary of the nodes that are trained on."""
    if not columns:
        return None
    encoder = AttributeEncoder(columns, data.min_count, data.num_knots)
    encoder.fit(frame.iloc[trained.unique().numpy()])
    return encoder.transform(frame)


def _bounds(name: str, sizes: tuple[int, ...] | None) -> tuple | None:
    if sizes is None:
        return None
    if len(sizes) not in (1, 2):
        raise ValueError(
            f"'train.{name}' must hold a smallest and a largest size, or the smallest "
            f'alone (got {list(sizes)})'
        )
    return sizes if len(sizes) == 2 else (*sizes, None)


def _shared(config: Any, function: Callable[..., Any]) -> dict[str, Any]:
    """The values of a config that are arguments of a function."""
    names = inspect.signature(function).parameters
    return {k: v for k, v in vars(config).items() if k in names}


def _export_clusters(
    assignment: Tensor, users: pd.Series, episodes: Episodes, options: Options
) -> list[list[float]]:
    """Writes the test users' assignments to a CSV file beside the report."""
    rows = assignment.double().numpy().round(4)
    table = pd.DataFrame(rows, columns=[f'cluster_{c}' for c in range(rows.shape[1])])
    table.insert(0, 'user', users.iloc[episodes.user.numpy()].to_numpy())
    options.folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.folder / 'clusters.csv', index=False)
    return rows.tolist()
