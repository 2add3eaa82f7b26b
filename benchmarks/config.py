"""Configs: TOML files read into frozen dataclasses that know every key."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from agnn_pyg import setting_rules
from agnn_pyg.base.rules import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    check_rule,
    optional,
    whole,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar('T')

# What values must be, by their key: as the recommender's settings, and more of them.
RULES = {
    **{
        name.removeprefix('message_'): rule
        for name, rule in (setting_rules.RULES | setting_rules.MESSAGE_RULES).items()
    },
    'hidden_channels': whole(0),
    'weight_decay': NOT_NEGATIVE,
    'kl_weight': NOT_NEGATIVE,
    'reconstruction_weight': NOT_NEGATIVE,
    'cold_users': SHARE,
    'cold_items': SHARE,
    'ema_decay': optional(SHARE),
    'gradient_clip': optional(POSITIVE),
}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is rated, and what is known of users and items.

    Attributes:
        mode: The split: item_cold, user_cold, both_cold or warm.
        user_attributes: Columns of users that are embedded.
        item_attributes: Columns of items that are embedded.
        dataset: The source of the tables; "ml-100k".
        min_count: Trained-on nodes a value must occur in to be embedded on its
            own rather than as a rare one.
        num_knots: Knots of numeric columns.
        test: Share of items, users or ratings that are tested on.
        validation: Likewise for validation; the mode's default without.
    """

    mode: str
    user_attributes: tuple[str, ...]
    item_attributes: tuple[str, ...]
    dataset: str = 'ml-100k'
    min_count: int = 5
    num_knots: int = 16
    test: float = 0.2
    validation: float | None = None


@dataclasses.dataclass(frozen=True)
class GraphConfig:
    """The attribute graphs.

    Attributes:
        user_attributes: Columns that users are compared by.
        item_attributes: Columns that items are compared by.
        num_neighbors: Neighbours a node draws; 0 switches the graph off.
        preference: Compare training ratings, too.
        pool: Share of the other nodes in a candidate pool.
        max_pool: The largest pool.
    """

    user_attributes: tuple[str, ...]
    item_attributes: tuple[str, ...]
    num_neighbors: int = 10
    preference: bool = True
    pool: float = 0.05
    max_pool: int = 500


@dataclasses.dataclass(frozen=True)
class MessageConfig:
    """Ratings as messages; see :class:`agnn_pyg.RatingPropagation`.

    Attributes:
        share: Share of the messages in a prediction, the network has the rest; 0
            switches them off.
        kinds: Kinds of messages: user, item, attribute.
        shared: Features of each relation that comes of ratings; 0 goes without.
        steps: Steps that gates learn.
        folds: Parts of the training ratings that are held out in turn for it.
    """

    share: float = 0.75
    kinds: tuple[str, ...] = ('user', 'item', 'attribute')
    shared: int = 64
    steps: int = 24
    folds: int = 5


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Arguments of :class:`agnn_pyg.AGNN`, which documents them."""

    channels: int = 32
    hidden_channels: int = 32
    dropout: float = 0.2
    generate: bool = True
    generate_bias: bool = True
    skip: bool = True
    separate_neighbors: bool = False
    negative_slope: float = 1.0
    aggregate_gate: bool = True
    filter_gate: bool = True
    conv: str = 'gated'


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training; see :mod:`agnn_pyg.base.training` for what the values mean.

    Attributes:
        cold_users: Share of warm users treated as cold in a batch.
        cold_items: Share of warm items treated as cold in a batch.
        refit: After the epoch is selected on validation, train once more on
            training and validation ratings together, for as many epochs.
        draws: Draws of neighbours that a prediction is averaged over.
    """

    epochs: int = 6
    batch_size: int = 2048
    lr: float = 3e-3
    free_lr: float = 3e-2
    weight_decay: float = 1e-2
    kl_weight: float = 0.01
    reconstruction_weight: float = 0.1
    preference_weight: float = 0.01
    cold_users: float = 0.0
    cold_items: float = 0.0
    ema_decay: float | None = 0.99
    gradient_clip: float | None = None
    patience: int | None = None
    refit: bool = True
    draws: int = 8


@dataclasses.dataclass(frozen=True)
class AGNNConfig:
    """A whole run but for its seeds."""

    rules = RULES

    data: DataConfig
    graph: GraphConfig
    messages: MessageConfig = MessageConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


def load_config(path: str | Path, kind: type[T] = AGNNConfig) -> T:
    """Reads a TOML file into the dataclass :obj:`kind`.

    Raises:
        ValueError: If the file is missing or no TOML, a key is unknown (the
            nearest known one is named) or lacking, or a value of another type or
            not what the config's :obj:`rules` say.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _siblings(path), n=1)
        hint = f"; did you mean '{path.parent / near[0]}'?" if near else ''
        raise ValueError(f"No config file '{path}'{hint}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"Cannot read config '{path}': {error}") from error
    try:
        config = _build(kind, content, '')
        _check(config)
        return config
    except ValueError as error:
        raise ValueError(f"Config '{path}': {error}") from None


def _check(config: Any) -> None:
    for section, values in vars(config).items():
        for key, value in vars(values).items():
            if key in config.rules:
                check_rule(value, f'{section}.{key}', config.rules[key])


def _siblings(path: Path) -> list[str]:
    return [p.name for p in path.parent.glob('*.toml')] if path.parent.is_dir() else []


def _build(kind: type[T], content: dict[str, Any], prefix: str) -> T:
    hints = get_type_hints(kind)
    for key in content:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else ''
            known = hint or f'known are {sorted(hints)}'
            raise ValueError(f"unknown key '{prefix}{key}'; {known}")
    lacking = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is f.default_factory is dataclasses.MISSING
        and f.name not in content
    ]
    if lacking:
        raise ValueError(f"key '{prefix}{lacking[0]}' is lacking; add it")
    values = {key: _value(hints[key], v, prefix + key) for key, v in content.items()}
    return kind(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"'{name}' must be a table, [{name}] (got {value!r})")
        return _build(hint, value, f'{name}.')
    kinds = _alternatives(hint)
    # TOML has no null.
    if type(None) in kinds and str not in kinds and value == 'none':
        return None
    lists = [k for k in kinds if get_origin(k) in (tuple, Sequence)]
    if lists:
        return _list(get_args(lists[0])[0], value, name)
    # TOML keeps 1 and 1.0 apart; True is an int in Python.
    if float in kinds and type(value) is int:
        return float(value)
    if type(value) not in kinds or value is None:
        expected = ' or '.join(k.__name__ for k in kinds if k is not type(None))
        raise ValueError(f"'{name}' must be of type {expected} (got {value!r})")
    return value


def _alternatives(hint: Any) -> tuple[Any, ...]:
    union = get_origin(hint) in (types.UnionType, Union)
    return get_args(hint) if union else (hint,)


def _list(kind: type, value: Any, name: str) -> tuple:
    whole = isinstance(value, list) and all(type(v) is kind for v in value)
    if not whole:
        what = {str: 'names', int: 'whole numbers'}.get(kind, f'{kind.__name__}s')
        raise ValueError(f"'{name}' must be a list of {what} (got {value!r})")
    return tuple(value)
