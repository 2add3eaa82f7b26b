"""One run of AGNN: a config, tables, a split and a seed to a report's content."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from agnn_pyg import (
    AGNN,
    AttributeEncoder,
    RatingPropagation,
    attribute_relations,
    predict,
    rating_graph,
    rating_loader,
)
from agnn_pyg.base.training import FitResult, fit
from agnn_pyg.rating_module import RatingModule
from benchmarks.command import Options
from benchmarks.config import AGNNConfig
from benchmarks.metrics import (
    NUM_ATTRIBUTES,
    POPULARITY,
    calibration,
    error_by,
    evaluate,
)
from data.splits import Split
from data.strict import COLD_SIDES
from data.tables import RatingTables

# Far from every training seed, so that no draw of theirs is tested with.
EVALUATION_SEED = 1_000_003


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model and the graph it was trained on."""

    module: RatingModule
    graph: Any
    result: FitResult
    seconds: float


@dataclasses.dataclass(frozen=True)
class Messages:
    """Propagated ratings: of the training part, and of all that is fitted on."""

    select: RatingPropagation
    final: RatingPropagation
    history: list[float]
    seconds: float


def learn_messages(
    config: AGNNConfig, tables: RatingTables, split: Split
) -> Messages | None:
    """Learns gates within the training part, and propagates the ratings of both.

    Validation and test ratings play no part in the gates.
    """
    options = config.messages
    if not options.share:
        return None
    start = time.perf_counter()
    relations = []
    for frame, columns in (
        (tables.users, config.graph.user_attributes),
        (tables.items, config.graph.item_attributes),
    ):
        encoder = AttributeEncoder(columns, num_knots=config.data.num_knots)
        relations.append(attribute_relations(encoder, encoder.fit_transform(frame)))

    cold = tuple(side in COLD_SIDES[split.mode] for side in ('user', 'item'))

    def make() -> RatingPropagation:
        return RatingPropagation(*relations, options.kinds, options.shared, cold)

    select = final = make()
    index, rating = _tensors(tables, split.train)
    history = select.learn(index, rating, options.steps, folds=options.folds)
    select.fit(index, rating)
    if config.train.refit:
        final = make()
        final.gate.copy_(select.gate)
        final.fit(*_tensors(tables, split.fit))
    return Messages(select, final, history, time.perf_counter() - start)


def run_agnn(
    config: AGNNConfig,
    tables: RatingTables,
    split: Split,
    seed: int,
    options: Options,
    messages: Messages | None = None,
) -> dict[str, Any]:
    """Selects the epoch on validation, refits, and scores the test part once.

    Returns:
        The model's part of a report: metrics, best epoch, history, times.
    """
    selected = _train(
        config,
        tables,
        split.train,
        split.validation,
        seed,
        options,
        messages=messages and messages.select,
    )
    best_epoch = selected.result.best_epoch
    final = selected
    if config.train.refit:
        final = _train(
            config,
            tables,
            split.fit,
            None,
            seed,
            options,
            epochs=best_epoch + 1,
            messages=messages and messages.final,
        )
    start = time.perf_counter()
    predicted = {
        'val': _predict(selected, config, tables, split.validation),
        'test': _predict(final, config, tables, split.test),
    }
    metrics = {
        'val': evaluate(predicted['val'], split.validation),
        'test': evaluate(predicted['test'], split.test),
    }
    ran = len(selected.result.history)
    return {
        'gates': messages and _gates(messages),
        'num_parameters': sum(p.numel() for p in final.module.model.parameters()),
        'best_epoch': best_epoch,
        'metrics': metrics,
        'breakdown': _breakdown(predicted['test'], tables, split, final.graph),
        'history': selected.result.history,
        'time': {
            'messages_s': messages.seconds if messages else 0.0,
            'train_s': selected.seconds,
            'per_epoch_s': selected.seconds / ran,
            'refit_s': final.seconds if config.train.refit else 0.0,
            'evaluate_s': time.perf_counter() - start,
        },
    }


def _train(
    config: AGNNConfig,
    tables: RatingTables,
    train: pd.DataFrame,
    validation: pd.DataFrame | None,
    seed: int,
    options: Options,
    epochs: int | None = None,
    messages: RatingPropagation | None = None,
) -> Trained:
    """Trains on one part and, where given, selects the epoch on another."""
    start = time.perf_counter()
    module, loader, graph = build_training(config, tables, train, seed, messages)
    loaders = [loader]
    if validation is not None:
        loaders.append(_evaluation_loader(graph, config, tables, validation))
    stage = 'refit' if validation is None else 'select'
    result = fit(
        module,
        *loaders,
        epochs=config.train.epochs,
        stop_after=epochs,
        patience=config.train.patience if validation is not None else None,
        ema_decay=config.train.ema_decay,
        ema_every=4,
        gradient_clip=config.train.gradient_clip,
        folder=options.folder / stage,
        resume=options.resume,
        progress=options.progress,
        accelerator='gpu' if options.device.startswith('cuda') else options.device,
    )
    module.to(options.device)
    return Trained(module, graph, result, time.perf_counter() - start)


def build_training(
    config: AGNNConfig,
    tables: RatingTables,
    train: pd.DataFrame,
    seed: int,
    messages: RatingPropagation | None = None,
) -> tuple[RatingModule, Any, Any]:
    """An untrained model, its training batches, and the graph of both."""
    graph, num_tokens = build_graph(config, tables, train, seed)
    index, rating = _tensors(tables, train)
    loader = rating_loader(
        graph,
        index,
        rating,
        batch_size=config.train.batch_size,
        num_neighbors=config.graph.num_neighbors,
        cold_rate=(config.train.cold_users, config.train.cold_items),
        shuffle=True,
        seed=seed,
    )
    torch.manual_seed(seed)
    module = _module(config, tables, num_tokens, rating, seed, messages)
    return module, loader, graph


def build_graph(
    config: AGNNConfig, tables: RatingTables, train: pd.DataFrame, seed: int
) -> tuple[Any, tuple[int, int]]:
    """The rating graph of a training part, and the sizes of both vocabularies.

    What is embedded has the vocabulary of the nodes that are trained on: the
    embedding of a value that only cold nodes have would never be trained. What
    is merely compared has the vocabulary of all.
    """
    embedded, compared = [], []
    for key, frame, columns, proximity in (
        (
            'user',
            tables.users,
            config.data.user_attributes,
            config.graph.user_attributes,
        ),
        (
            'item',
            tables.items,
            config.data.item_attributes,
            config.graph.item_attributes,
        ),
    ):
        encoder = AttributeEncoder(
            columns, config.data.min_count, config.data.num_knots
        ).fit(frame[frame[key].isin(train[key])])
        embedded.append(encoder.transform(frame))
        encoder = AttributeEncoder(proximity, num_knots=config.data.num_knots)
        compared.append(encoder.fit_transform(frame))
    index, rating = _tensors(tables, train)
    graph = rating_graph(
        *embedded,
        index,
        rating,
        user_proximity=compared[0],
        item_proximity=compared[1],
        preference=config.graph.preference,
        pool=config.graph.pool,
        max_pool=config.graph.max_pool,
        seed=seed,
    )
    return graph, (embedded[0].num_tokens, embedded[1].num_tokens)


def _module(
    config: AGNNConfig,
    tables: RatingTables,
    num_tokens: tuple[int, int],
    rating: Tensor,
    seed: int,
    messages: RatingPropagation | None,
) -> RatingModule:
    model = AGNN(
        len(tables.users),
        len(tables.items),
        *num_tokens,
        mean=float(rating.mean()),
        messages=messages,
        message_share=config.messages.share if messages else 0.0,
        **dataclasses.asdict(config.model),
    )
    train = config.train
    return RatingModule(
        model,
        lr=train.lr,
        free_lr=train.free_lr,
        weight_decay=train.weight_decay,
        kl_weight=train.kl_weight,
        reconstruction_weight=train.reconstruction_weight,
        preference_weight=train.preference_weight,
        rating_range=(float(rating.min()), float(rating.max())),
        seed=seed,
    )


def _predict(
    trained: Trained, config: AGNNConfig, tables: RatingTables, part: pd.DataFrame
) -> Tensor:
    return predict(
        trained.module.model,
        _evaluation_loader(trained.graph, config, tables, part),
        draws=config.train.draws,
        rating_range=trained.module.rating_range,
    )


def _gates(messages: Messages) -> dict[str, Any]:
    """The learnt gates by name, largest first, and how they were come by."""
    propagation = messages.final
    rows, columns = propagation.names
    value = propagation.gate.tolist()
    gates = {
        f'{row} | {column}': value[r][c]
        for r, row in enumerate(rows)
        for c, column in enumerate(columns)
        if value[r][c] > 0
    }
    order = sorted(gates, key=gates.get, reverse=True)
    return {'held_out_rmse': messages.history, 'gates': {k: gates[k] for k in order}}


def _breakdown(
    predicted: Tensor, tables: RatingTables, split: Split, graph: Any
) -> dict[str, Any]:
    """Where test predictions can be trusted: calibration, error by bucket."""
    part, rating = split.test, split.test['rating']
    result: dict[str, Any] = {'calibration': calibration(predicted, rating)}
    for side in ('user', 'item'):
        times = part[side].map(split.fit[side].value_counts()).fillna(0)
        position = tables.positions(part)[side == 'item']
        values = (graph[side].attr_weight > 0).sum(dim=-1).numpy()[position]
        for name, value, bounds in (
            ('popularity', times, POPULARITY),
            ('attributes', values, NUM_ATTRIBUTES),
        ):
            result[f'{side}_{name}'] = error_by(predicted, rating, value, bounds)
    return result


def _evaluation_loader(
    graph: Any, config: AGNNConfig, tables: RatingTables, part: pd.DataFrame
) -> Any:
    return rating_loader(
        graph,
        *_tensors(tables, part),
        batch_size=max(config.train.batch_size, 4096),
        num_neighbors=config.graph.num_neighbors,
        seed=EVALUATION_SEED,
    )


def _tensors(tables: RatingTables, part: pd.DataFrame) -> tuple[Tensor, Tensor]:
    user, item = (torch.from_numpy(p) for p in tables.positions(part))
    rating = torch.tensor(part['rating'].to_numpy(), dtype=torch.float)
    return torch.stack([user, item]), rating
