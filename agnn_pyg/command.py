"""The command ``agnn-pyg``: recommend from files, for whoever came yesterday."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agnn_pyg.base.io import write_file
from agnn_pyg.base.shell import (
    ROLES,
    add_command,
    add_settings,
    note_lists,
    read,
    read_as_fitted,
    roles_of,
    run,
    settings_of,
)
from agnn_pyg.base.store import check_writable
from agnn_pyg.kernel.scenarios import PATTERNS

if TYPE_CHECKING:
    from agnn_pyg.recommender import AGNNRecommender

logger = logging.getLogger('agnn_pyg')

DESCRIPTION = """\
Rate and recommend from tables: users and items known, new or never rated.

Tables are CSV (or TSV) with a header line, or Parquet. Columns of ids and ratings
are recognised by names such as userId, movie_id, stars, or named with --user,
--item and --rating. All other columns of a table of users or items are attributes:
numbers, texts, or lists (--lists genres, for cells like Comedy|War).

Data goes to standard output, or to the file of --out; remarks go to standard
error. The exit code is 0, or 2 where an argument or a table is wrong.
"""
EPILOG = """\
from MovieLens' ml-latest-small, recommend films to the users 7 and 8:
  agnn-pyg fit ratings.csv --items movies.csv --lists genres --model films
  agnn-pyg recommend 7 8 --model films
and a film that came out today, to everybody who is in ratings.csv:
  agnn-pyg predict pairs.csv --items today.csv --model films
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(_parser(), 'agnn_pyg', argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='agnn-pyg',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    fit = add_command(
        commands,
        'fit',
        _fit,
        'train on a table of ratings, and write a model',
        'agnn-pyg fit ratings.csv --users users.csv --items films.csv --model films',
    )
    fit.add_argument('ratings', help='user, item, rating; a row a rating')
    fit.add_argument('--validation', metavar='FILE', help='ratings to stop by')
    add_settings(fit)
    fit.add_argument(
        '--network-only',
        action='store_true',
        help='no messages of ratings: less good, but trained in a fraction of the time',
    )
    fit.add_argument(
        '--messages-for',
        nargs='+',
        choices=PATTERNS,
        metavar='PATTERN',
        help=f'pairs to learn messages for: {", ".join(PATTERNS)} (default: all)',
    )

    evaluate = add_command(
        commands,
        'evaluate',
        _evaluate,
        'compare predictions with ratings, and print RMSE and MAE',
        'agnn-pyg evaluate later.csv --items new_films.csv --model films',
    )
    evaluate.add_argument('ratings', help='user, item, rating; a row a rating')

    predict = add_command(
        commands,
        'predict',
        _predict,
        'rate pairs of users and items',
        'agnn-pyg predict pairs.csv --items new_films.csv --model films > rated.csv',
    )
    predict.add_argument('pairs', help='user, item; a row a pair')

    recommend = add_command(
        commands,
        'recommend',
        _recommend,
        'list the items that users will rate highest',
        'agnn-pyg recommend --users new_users.csv -k 5 --model films',
    )
    recommend.add_argument('ids', nargs='*', help='known users (default: --users)')
    recommend.add_argument('-k', type=int, default=10, help='items a user (default 10)')
    recommend.add_argument(
        '--include-seen', action='store_true', help='also what users have rated'
    )

    explain = add_command(
        commands,
        'explain',
        _explain,
        'say why a user is predicted to rate an item so',
        'agnn-pyg explain 7 1193 --model films',
    )
    explain.add_argument('of_user', metavar='USER', help='id of the user')
    explain.add_argument('of_item', metavar='ITEM', help='id of the item')

    for command in (fit, evaluate, predict, recommend, explain):
        news = '' if command is fit else ', those unknown to the model at least'
        for side in ('user', 'item'):
            help = f'attributes of {side}s{news}'
            command.add_argument(f'--{side}s', metavar='FILE', help=help)
    for command in (predict, recommend):
        command.add_argument('--out', metavar='FILE', help='file to write, .csv etc.')
    return parser


def _fit(args: argparse.Namespace) -> None:
    recommender = _recommender()
    check_writable(args.model, recommender.__name__)
    roles = roles_of(args, args.ratings)
    model = recommender(**roles).set_params(**_settings(args))
    tables = (
        read(args, args.ratings, roles, ROLES),
        read(args, args.users, roles, ['user']),
        read(args, args.items, roles, ['item']),
        read(args, args.validation, roles, ROLES),
    )
    # The engine's progress bar is no data.
    with contextlib.redirect_stdout(sys.stderr):
        model.fit(*tables)
    model.save(args.model)
    note_lists(args)
    last = model.fitted_.history[model.fitted_.best_epoch]
    names = ('train_mse', 'val_rmse')
    scores = ', '.join(f'{n} {last[n]:.4f}' for n in names if n in last)
    logger.info(
        "'%s' holds the model after %d epochs: %s",
        args.model,
        model.fitted_.best_epoch + 1,
        scores,
    )


def _recommender() -> type[AGNNRecommender]:
    """The recommender and PyG, which nobody waits for who asks for help."""
    with warnings.catch_warnings():
        # What PyTorch has to say to PyG is of no use in a shell.
        warnings.filterwarnings('ignore', '.*torch.jit.*')
        from agnn_pyg.recommender import AGNNRecommender
    return AGNNRecommender


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    settings = settings_of(args)
    if args.messages_for:
        settings['scenarios'] = tuple(args.messages_for)
    if args.network_only:
        settings['kernel_weight'] = 0.0
    return settings


def _evaluate(args: argparse.Namespace) -> None:
    model, tables = _load(args)
    ratings = _read(args, args.ratings, model, ROLES)
    rating = pd.to_numeric(ratings[model.rating], errors='coerce')
    error = model.predict(ratings, *tables) - rating
    if not len(error) or error.isna().any():
        raise ValueError(
            f"'{args.ratings}' needs a number in column '{model.rating}' of each row, "
            f'and rows at all'
        )
    values = {
        'ratings': len(error),
        'rmse': float(np.sqrt((error**2).mean())),
        'mae': float(error.abs().mean()),
    }
    write_file(pd.DataFrame({'metric': values.keys(), 'value': values.values()}), None)


def _predict(args: argparse.Namespace) -> None:
    model, tables = _load(args)
    pairs = _read(args, args.pairs, model, ['user', 'item'])
    rating = model.predict(pairs, *tables)
    write_file(pairs[[model.user, model.item]].join(rating), args.out)


def _recommend(args: argparse.Namespace) -> None:
    model, (users, items) = _load(args)
    if bool(args.ids) == (users is not None):
        raise ValueError("Name users or give a file of them, '--users': one of the two")
    if args.ids:
        users = _ids(model, 'user', args.ids)
    top = model.recommend(users, args.k, items, exclude_seen=not args.include_seen)
    write_file(top, args.out)


def _explain(args: argparse.Namespace) -> None:
    model, tables = _load(args)
    user, item = (
        _ids(model, side, [given])[0]
        for side, given in (('user', args.of_user), ('item', args.of_item))
    )
    sys.stdout.write(f'{model.explain(user, item, *tables)}\n')


def _load(args: argparse.Namespace) -> tuple[AGNNRecommender, list]:
    model = _recommender().load(args.model).set_params(progress=False)
    encoders = (table.compared for table in model.fitted_.tables.values())
    read_as_fitted(args, [c for e in encoders for c in e.column_encoders])
    files = ((args.users, ['user']), (args.items, ['item']))
    return model, [_read(args, path, model, needed) for path, needed in files]


def _read(
    args: argparse.Namespace,
    path: str | None,
    model: AGNNRecommender,
    needed: Sequence[str],
) -> pd.DataFrame | None:
    roles = {role: getattr(model, role) for role in ROLES}
    kinds = {side: t.ids.dtype for side, t in model.fitted_.tables.items()}
    return read(args, path, roles, needed, kinds)


def _ids(model: AGNNRecommender, side: str, given: Sequence[str]) -> list:
    return model.fitted_.tables[side].ids.parse(given)
