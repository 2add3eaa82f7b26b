"""Implements the commands of :mod:`agnn_pyg.base.cli`.

A recommender has :obj:`fit`, :obj:`save` and :obj:`load`. It also has :obj:`update`,
:obj:`predict`, :obj:`recommend` and :obj:`explain`, which take tables of new users and
items, or :obj:`adapt`, which returns an object that predicts and recommends. After the
fit it has :obj:`vocabularies_` (ids by side), :obj:`column_encoders_`, :obj:`history_`
and :obj:`best_epoch_`.
"""

from __future__ import annotations

import ast
import inspect
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from agnn_pyg.base.checks import nearest
from agnn_pyg.base.io import (
    end_columns,
    read_columns,
    read_file,
    recognized,
    write_file,
)
from agnn_pyg.base.store import FILE, check_file, check_writable, read_notes

ROLES = ('user', 'item', 'rating')
# Arguments that are paths of tables, and the columns that options can name in them.
TABLES = dict.fromkeys(('ratings', 'validation', 'support'), ROLES)
TABLES |= {'pairs': ROLES[:2], 'users': ROLES[:1], 'items': ROLES[1:2]}
# Metrics of the best epoch that the command `fit` logs.
SCORES = ('train_loss', 'train_mse', 'val_loss', 'val_rmse')
logger = logging.getLogger(__name__)


def check_files(command: str, args: SimpleNamespace) -> None:
    """Raises ``ValueError`` if a file or the model of a command does not exist."""
    for name in (*TABLES, 'user_edges', 'item_edges'):
        if getattr(args, name) is not None:
            path = Path(getattr(args, name))
            check_file(path)
            if args.out is not None and path.resolve() == Path(args.out).resolve():
                raise ValueError(
                    f"'--out' must not be a file that is read (got '{args.out}'); name "
                    f'another one'
                )
    if command != 'fit':
        check_file(Path(args.model, FILE))


def fit(recommender: type, args: SimpleNamespace) -> None:
    """Trains on a table of ratings and saves the model."""
    check_writable(args.model, recommender.__name__)
    settings = {'progress': False} if args.quiet else {}
    settings |= _settings(recommender, args.set)
    _check_options(args, args.lists)
    for role in ROLES:
        if role in settings and getattr(args, role):
            raise ValueError(
                f"'--{role}' and '--set {role}' name the same column; leave one out"
            )
    if _is_none(args.rating):
        settings['rating'] = None
    args.list_separator = args.list_separator or '|'
    columns = read_columns(args.ratings)
    known = {role: recognized(columns, role) or [role] for role in ROLES}
    chosen = {role: getattr(args, role) or settings.get(role) for role in ROLES}
    roles = {role: chosen[role] or known[role][0] for role in ROLES}
    if settings.get('rating', '') is None:  # each row is a positive
        del roles['rating']
    ratings = _read(args, args.ratings, roles)
    users = _read(args, args.users, {'user': roles['user']})
    items = _read(args, args.items, {'item': roles['item']})
    validation = _read(args, args.validation, roles)
    edges = _read_edges(args)
    model = recommender(**roles | settings)
    with redirect_stdout(sys.stderr):  # for the progress bar
        model.fit(ratings, users, items, validation, **edges)
    model.save(args.model, list_separator=args.list_separator)
    text = f"'{args.model}' holds the model"
    epoch = model.best_epoch_
    if epoch is not None:
        found = model.history_[epoch]
        scores = ', '.join(
            f'{name} {found[name]:.4f}' for name in SCORES if name in found
        )
        text += f' after {epoch + 1} epoch{"s" if epoch else ""}: {scores}'
    logger.info(text)
    found = []
    for role, name in roles.items():
        others = [c for c in known[role] if c != name and getattr(args, role) is None]
        if name != role or others:
            more = f" (rather than '{others[0]}')" if others else ''
            found.append(f"{role}s in '{name}'{more}")
    if found:
        logger.info(f"'{args.ratings}' has {', '.join(found)}")


class Served:
    """The commands of a saved model; they read tables with the options of its fit."""

    def __init__(self, recommender: type, args: SimpleNamespace) -> None:
        self.model = recommender.load(args.model)
        self.config = self.model.config
        self.args = args
        kind = 'positives' if self.config.rating is None else 'ratings'
        if args.rating and _is_none(args.rating) != (kind == 'positives'):
            raise ValueError(
                f"'--rating {args.rating}' does not suit a model of {kind}; leave it "
                f'out, or fit again'
            )
        columns = self.model.column_encoders_
        # These stay texts even if all cells of a new file look like numbers.
        self.texts = [c.column for c in columns if str in map(type, c.values)]
        lists = [c.column for c in columns if c.stype in ('multi', 'vector')]
        _check_options(args, args.lists or lists)
        args.lists = args.lists or lists
        if not args.list_separator:
            args.list_separator = read_notes(args.model).get('list_separator', '|')
        self.ids = self.model.vocabularies_
        self.dtypes = {side: ids.dtype for side, ids in self.ids.items()}
        support = self.read('support')
        self.given = {
            'users': self.read('users'),
            'items': self.read('items'),
            'support': support,
            'ratings': support,
            'k': args.k,
            'samples': args.samples,
            **_read_edges(args, self.dtypes),
        }
        self.adapts = hasattr(self.model, 'adapt')
        if self.adapts and support is not None:
            self.model = self.model.adapt(support, self.given['users'])
            self.ids = self.ids | {'user': self.model.users}

    def update(self) -> None:
        if self.args.quiet:
            self.model.set_params(progress=False)
        with redirect_stdout(sys.stderr):
            self.call('update', ratings=self.read('ratings'))
        self.model.save(self.args.model, **read_notes(self.args.model))
        counts = {side: len(ids) for side, ids in self.model.vocabularies_.items()}
        logger.info(
            f"'{self.args.model}' holds the model of {counts['user']:,} users and "
            f'{counts["item"]:,} items'
        )

    def evaluate(self) -> None:
        ratings = self.read('ratings')
        # If some rows are used as support, the result has the number of the others.
        values = {'ratings': len(ratings), **self.call('evaluate', ratings=ratings)}
        found = pd.Series(values, name='value', dtype=object).rename_axis('metric')
        write_file(found.reset_index(), None)

    def predict(self) -> None:
        pairs = self.read('pairs')
        has_std = bool(self.args.samples)
        rated = self.call('predict', pairs=pairs, return_std=has_std)
        found = pairs[[self.config.user, self.config.item]]
        for part in rated if has_std else [rated]:
            found = found.join(part)
        write_file(found, self.args.out)

    def recommend(self) -> None:
        options = {'exclude_seen': not self.args.include_seen}
        found = self.call('recommend', users=self.chosen_users(), **options)
        if self.args.ids:  # a file may hold other users
            name = self.config.user
            chosen = dict.fromkeys(self.ids['user'].parse(self.args.ids))
            order = pd.Index(chosen).get_indexer
            found = found[order(found[name]) >= 0]
            found = found.sort_values(name, key=order, kind='stable')
        write_file(found, self.args.out)

    def explain(self) -> None:
        (item,) = self.ids['item'].parse([self.args.item_id])
        (user,) = self.ids['user'].parse([self.args.user_id])
        sys.stdout.write(f'{self.call("explain", user=user, item=item)}\n')

    def call(self, name: str, **arguments: Any) -> Any:
        """Calls a method of the model with those of the arguments that it accepts."""
        method = getattr(self.model, name)
        arguments = self.given | arguments
        names = inspect.signature(method).parameters
        known = {n: v for n, v in arguments.items() if n in names and v is not None}
        return method(**known)

    def read(self, name: str) -> pd.DataFrame | None:
        roles = {role: getattr(self.config, role) for role in TABLES[name]}
        roles = {role: column for role, column in roles.items() if column is not None}
        options = {'id_dtypes': self.dtypes, 'texts': self.texts}
        return _read(self.args, getattr(self.args, name), roles, **options)

    def chosen_users(self) -> list | pd.DataFrame | None:
        """The named users, or those of a file, with their attributes."""
        name = self.config.user
        named = self.ids['user'].parse(self.args.ids or [])
        table, support = self.given['users'], self.given['support']
        if self.adapts:
            return named or None
        if not named and table is None:
            if support is None:
                raise ValueError("There are no users; name some, or '--users FILE'")
            return [*support[name].unique()]  # not a table: they lack attributes
        # Keep the whole table: other rows may be ends of edges.
        bare = pd.Index(named)
        bare = bare if table is None else bare.difference(table[name], sort=False)
        unknown = bare.difference(self.ids['user'].values)
        if support is not None:
            unknown = unknown.difference(support[name])
        if 'user_edges' in self.given:
            edges = self.given['user_edges']
            unknown = unknown.difference(edges[end_columns(edges)].to_numpy().ravel())
        if len(unknown):
            hint = self.ids['user'].hint(unknown[0])
            raise ValueError(
                f"User '{unknown[0]}' is not in the model; {hint}add a row to '--users "
                f"FILE' (several ids are written with spaces between them)"
            )
        if table is None:
            return named
        return pd.concat([table, bare.to_frame(name=name)]) if len(bare) else table


def _settings(recommender: type, texts: Sequence[str]) -> dict[str, Any]:
    """The settings of ``--set``: values are read as JSON, Python or plain text."""
    settings = {}
    config = recommender.Config
    for text in texts:
        name, equals, value = text.partition('=')
        if not equals:
            raise ValueError(f"'--set' must be NAME=VALUE (got '{text}')")
        config.as_python({name: value})  # raises if the name is unknown
        readings = []
        for read in (json.loads, ast.literal_eval, str):
            with suppress(ValueError, SyntaxError):
                readings.append(read(value))
        for reading in readings:
            with suppress(ValueError):
                settings[name] = getattr(config(**{name: reading}), name)
                break
        else:
            config(**{name: readings[0]})  # raises the error of the value
    return settings


def _read(
    args: SimpleNamespace, path: str | None, roles: Mapping[str, str], **options: Any
) -> pd.DataFrame | None:
    """Reads a file of the command line; None if the argument was not given."""
    if path is None:
        return None
    named = {role: name for role in roles if (name := getattr(args, role))}
    return read_file(
        path,
        roles=roles,
        named=named,
        lists=args.lists,
        list_separator=args.list_separator,
        **options,
    )


def _read_edges(
    args: SimpleNamespace, dtypes: Mapping[str, str] | None = None
) -> dict[str, pd.DataFrame]:
    """Reads the files of edges; their first two columns are ids of one side."""
    found = {}
    for side in ROLES[:2]:
        path = getattr(args, f'{side}_edges')
        if path is not None:
            ends = dict(zip(ROLES, end_columns(read_columns(path)), strict=False))
            ids = dict.fromkeys(ends, (dtypes or {}).get(side, 'str'))
            found[f'{side}_edges'] = read_file(path, roles=ends, id_dtypes=ids)
    return found


def _is_none(rating: str | None) -> bool:
    """Whether ``--rating none`` says that each row is a positive."""
    return (rating or '').lower() == 'none'


def _check_options(args: SimpleNamespace, lists: Sequence[str]) -> None:
    """Raises ``ValueError`` if an option has no effect on the tables of a command.

    :obj:`lists` are the columns that are read as lists.
    """
    given = [name for name in TABLES if getattr(args, name)]
    for role in ROLES:
        if getattr(args, role) and not any(role in TABLES[name] for name in given):
            raise ValueError(
                f"'--{role}' has no effect, because no table here has {role}s; leave "
                f'it out'
            )
    if not args.lists and not args.list_separator:
        return
    known = [column for name in given for column in read_columns(getattr(args, name))]
    for column in args.lists:
        if column not in known:
            raise ValueError(
                f"'--lists' names column '{column}', which no table has"
                f'{nearest(column, known)}; correct it, or leave it out (give '
                f"several as '--lists one --lists other')"
            )
    if args.list_separator and not {*lists} & {*known}:
        raise ValueError(
            "'--list-separator' has no effect, because no table here has a column of "
            "lists; name one with '--lists', or leave it out"
        )
