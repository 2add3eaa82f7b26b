"""What the commands of :mod:`agnn_pyg.base.cli` do with their arguments.

A recommender has :obj:`fit`, :obj:`save`, :obj:`load`, and either :obj:`predict`,
:obj:`recommend` and :obj:`explain`, which take tables of new users and items, or
:obj:`adapt`, whose result has the first two. Fitted, it has :obj:`vocabularies_` (ids
by side), :obj:`column_encoders_`, :obj:`history_` and :obj:`best_epoch_`.
"""

from __future__ import annotations

import ast
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from types import SimpleNamespace
from typing import Any

import pandas as pd

from agnn_pyg.base.checks import nearest
from agnn_pyg.base.config import check_names
from agnn_pyg.base.io import read_columns, read_file, recognised, write_file
from agnn_pyg.base.metrics import rating_metrics
from agnn_pyg.base.store import annotate, check_writable, read_notes

ROLES = ('user', 'item', 'rating')
# Arguments that are files of tables.
TABLES = ('ratings', 'validation', 'pairs', 'support', 'users', 'items')
SEPARATOR = '|'
# Metrics of an epoch that a fit reports.
SCORES = ('train_loss', 'train_mse', 'val_loss', 'val_rmse')
logger = logging.getLogger(__name__)


def fit(recommender: type, args: SimpleNamespace) -> None:
    """Trains on a table of ratings, and writes a model."""
    check_writable(args.model, recommender.__name__)
    settings = {'progress': not args.quiet} | _settings(recommender, args.set)
    _check_lists(args)
    columns = read_columns(args.ratings)
    roles = {r: getattr(args, r) or recognised(columns, r) or r for r in ROLES}
    needed = {'ratings': ROLES, 'users': ['user'], 'items': ['item']}
    needed |= {'validation': ROLES}
    tables = [_read(args, getattr(args, n), roles, r) for n, r in needed.items()]
    model = recommender(**roles | settings)
    with redirect_stdout(sys.stderr):  # a progress bar is no data
        model.fit(*tables)
    # The progress bar was a wish of this command.
    model.set_params(progress=False).save(args.model)
    annotate(args.model, list_separator=args.list_separator or SEPARATOR)
    scores = ''
    if model.best_epoch_ is not None:
        best = model.history_[model.best_epoch_]
        scores = ', '.join(f'{n} {best[n]:.4f}' for n in SCORES if n in best)
        scores = f' after {model.best_epoch_ + 1} epochs: {scores}'
    logger.info("'%s' holds the model%s", args.model, scores)


def evaluate(recommender: type, args: SimpleNamespace) -> None:
    """Compares predictions with ratings, and prints RMSE and MAE."""
    model = _load(recommender, args)
    ratings = _read_known(args, args.ratings, model, ROLES)
    rating = pd.to_numeric(ratings[model.rating], errors='coerce')
    predicted = _rate(args, model, ratings)[model.rating]
    values = {'ratings': len(rating), **rating_metrics(predicted, rating)}
    write_file(pd.DataFrame(values.items(), columns=['metric', 'value']), None)


def predict(recommender: type, args: SimpleNamespace) -> None:
    """Rates pairs of users and items."""
    model = _load(recommender, args)
    pairs = _read_known(args, args.pairs, model, ['user', 'item'])
    rated = _rate(args, model, pairs)
    write_file(pairs[[model.user, model.item]].join(rated), args.out)


def recommend(recommender: type, args: SimpleNamespace) -> None:
    """Lists the items that users will rate highest."""
    model = _load(recommender, args)
    items = _read_known(args, args.items, model, ['item'])
    options = {'k': args.k, 'items': items, 'exclude_seen': not args.include_seen}
    if args.support is not None:
        model = _adapt(args, model)
        users = model.users.parse(args.ids) if args.ids else None
        options['samples'] = args.samples
    elif bool(args.ids) == (args.users is not None):
        raise ValueError("Name users, or give a file of them, '--users'")
    elif args.ids:
        users = model.vocabularies_['user'].parse(args.ids)
    else:
        users = _read_known(args, args.users, model, ['user'])
    write_file(model.recommend(users, **options), args.out)


def explain(recommender: type, args: SimpleNamespace) -> None:
    """Says why a user is predicted to rate an item so."""
    model = _load(recommender, args)
    (user,) = model.vocabularies_['user'].parse([args.user_id])
    (item,) = model.vocabularies_['item'].parse([args.item_id])
    sys.stdout.write(f'{model.explain(user, item, *_new_nodes(args, model))}\n')


def _settings(recommender: type, texts: Sequence[str]) -> dict[str, Any]:
    """The settings of ``--set``: texts read as JSON, as Python or as they are."""
    settings, config = {}, recommender.Config
    for text in texts:
        name, equals, value = text.partition('=')
        if not equals:
            raise ValueError(f"'--set' must be NAME=VALUE (got '{text}')")
        check_names(recommender.__name__, [name], config.model_fields)
        readings = []
        for read in (json.loads, ast.literal_eval, str):
            with suppress(ValueError, SyntaxError):
                readings.append(read(value))
        # The first reading that suits; the error is that of the first reading of all.
        for reading in (*readings, readings[0]):
            try:
                settings[name] = getattr(config(**{name: reading}), name)
                break
            except ValueError as error:
                unfit = error
        else:
            raise unfit
    return settings


def _load(recommender: type, args: SimpleNamespace) -> Any:
    """Loads a model, and completes arguments by how the tables of its fit were read."""
    model = recommender.load(args.model)
    _check_lists(args)
    columns = model.column_encoders_
    # Texts are texts, even where all look like numbers in a new file.
    is_text = [any(isinstance(value, str) for value in c.values) for c in columns]
    args.texts = [c.column for c, t in zip(columns, is_text, strict=True) if t]
    args.lists = args.lists or [c.column for c in columns if c.stype == 'multi']
    if args.list_separator is None:
        args.list_separator = read_notes(args.model).get('list_separator')
    return model


def _rate(args: SimpleNamespace, model: Any, pairs: pd.DataFrame) -> pd.DataFrame:
    if args.support is not None:
        return _adapt(args, model).predict(pairs, args.samples or 0)
    return pd.DataFrame(model.predict(pairs, *_new_nodes(args, model)))


def _adapt(args: SimpleNamespace, model: Any) -> Any:
    support = _read_known(args, args.support, model, ROLES)
    return model.adapt(support, _read_known(args, args.users, model, ['user']))


def _new_nodes(args: SimpleNamespace, model: Any) -> list[pd.DataFrame | None]:
    paths = {'user': args.users, 'item': args.items}
    return [_read_known(args, path, model, [side]) for side, path in paths.items()]


def _read_known(
    args: SimpleNamespace, path: str | None, model: Any, needed: Sequence[str]
) -> pd.DataFrame | None:
    """Reads a file as the tables of the fit were read."""
    roles = {role: getattr(model, role) for role in ROLES}
    dtypes = {side: ids.dtype for side, ids in model.vocabularies_.items()}
    return _read(args, path, roles, needed, id_dtypes=dtypes, texts=args.texts)


def _read(
    args: SimpleNamespace,
    path: str | None,
    roles: Mapping[str, str],
    needed: Sequence[str],
    **options: Any,
) -> pd.DataFrame | None:
    """Reads a file of the command line, if there is one."""
    if path is None:
        return None
    options['roles'] = {role: roles[role] for role in needed}
    options['named'] = {role: name for role in needed if (name := getattr(args, role))}
    separator = args.list_separator or SEPARATOR
    return read_file(path, lists=args.lists, list_separator=separator, **options)


def _check_lists(args: SimpleNamespace) -> None:
    """Raises ``ValueError`` if ``--lists`` names a column that no table has."""
    if args.lists:
        paths = [path for name in TABLES if (path := getattr(args, name))]
        known = [column for path in paths for column in read_columns(path)]
        for column in args.lists:
            if column not in known:
                raise ValueError(
                    f"'--lists' names a column '{column}', which no table has"
                    f'{nearest(column, known)}; correct it, or leave it out'
                )
