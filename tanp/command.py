"""The command ``tanp``: recommend from files, after a user's first interactions."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Sequence

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
from tanp.adapted import AdaptedUsers
from tanp.recommender import TaNPRecommender

logger = logging.getLogger('tanp')

DESCRIPTION = """\
Rate and recommend for users of whom a few interactions are known, and of whom
nothing was known in training. Nothing is trained for them.

Tables are CSV (or TSV) with a header line, or Parquet. Columns of ids and ratings
are recognised by names such as userId, movie_id, stars, or named with --user,
--item and --rating. All other columns of a table of items are attributes:
numbers, texts, or lists (--lists genres, for cells like Comedy|War).

Data goes to standard output, or to the file of --out; remarks go to standard
error. The exit code is 0, or 2 where an argument or a table is wrong.
"""
EPILOG = """\
train on all users so far, then recommend after the first ratings of new ones:
  tanp fit ratings.csv --items movies.csv --lists genres --model films
  tanp recommend --support first_ratings.csv -k 5 --model films
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(_parser(), 'tanp', argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tanp',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    fit = add_command(
        commands,
        'fit',
        _fit,
        'train on the interactions of many users, and write a model',
        'tanp fit ratings.csv --items films.csv --model films',
    )
    fit.add_argument('ratings', help='user, item, rating; a row an interaction')
    fit.add_argument('--users', metavar='FILE', help='attributes of users')
    fit.add_argument('--items', metavar='FILE', help='attributes of items')
    fit.add_argument('--validation', metavar='FILE', help="other users' interactions")
    add_settings(fit)

    evaluate = add_command(
        commands,
        'evaluate',
        _evaluate,
        'compare predictions with ratings, and print RMSE and MAE',
        'tanp evaluate later.csv --support first.csv --model films',
    )
    evaluate.add_argument('ratings', help='user, item, rating; a row a rating')

    predict = add_command(
        commands,
        'predict',
        _predict,
        'rate pairs of users and items',
        'tanp predict pairs.csv --support first.csv --model films',
    )
    predict.add_argument('pairs', help='user, item; a row a pair')

    recommend = add_command(
        commands,
        'recommend',
        _recommend,
        'list the items that users will rate highest',
        'tanp recommend --support first.csv -k 5 --model films',
    )
    recommend.add_argument('ids', nargs='*', help='users (default: all of --support)')
    recommend.add_argument('-k', type=int, default=10, help='items a user (default 10)')
    recommend.add_argument(
        '--include-seen', action='store_true', help='also what is in the support'
    )
    help = 'items to choose from (default: all of the fit)'
    recommend.add_argument('--items', metavar='FILE', help=help)

    for command in (evaluate, predict, recommend):
        help = 'user, item, rating: what users have rated so far'
        command.add_argument('--support', metavar='FILE', required=True, help=help)
        help = 'attributes of users that the fit has not seen'
        command.add_argument('--users', metavar='FILE', help=help)
    for command in (predict, recommend):
        help = 'samples of z, for a spread of predictions as column std'
        command.add_argument('--samples', type=int, default=0, help=help)
        command.add_argument('--out', metavar='FILE', help='file to write, .csv etc.')
    return parser


def _fit(args: argparse.Namespace) -> None:
    check_writable(args.model, TaNPRecommender.__name__)
    roles = roles_of(args, args.ratings)
    model = TaNPRecommender(**roles).set_params(**settings_of(args))
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
    best = model.history_[model.best_epoch_]
    names = ('train_loss', 'val_loss')
    scores = ', '.join(f'{n} {best[n]:.4f}' for n in names if n in best)
    logger.info(
        "'%s' holds the model after %d epochs: %s",
        args.model,
        model.best_epoch_ + 1,
        scores,
    )


def _evaluate(args: argparse.Namespace) -> None:
    model, adapted = _adapt(args)
    ratings = _read(args, args.ratings, model, ROLES)
    rating = pd.to_numeric(ratings[model.rating], errors='coerce')
    error = adapted.predict(ratings)[model.rating] - rating
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
    model, adapted = _adapt(args)
    pairs = _read(args, args.pairs, model, ['user', 'item'])
    rating = adapted.predict(pairs, args.samples)
    write_file(pairs[[model.user, model.item]].join(rating), args.out)


def _recommend(args: argparse.Namespace) -> None:
    model, adapted = _adapt(args)
    users = adapted.users.parse(args.ids) if args.ids else None
    items = _read(args, args.items, model, ['item'])
    seen = not args.include_seen
    top = adapted.recommend(users, args.k, items, seen, args.samples)
    write_file(top, args.out)


def _adapt(args: argparse.Namespace) -> tuple[TaNPRecommender, AdaptedUsers]:
    model = TaNPRecommender.load(args.model).set_params(progress=False)
    encoder = model.user_encoder_
    read_as_fitted(args, [] if encoder is None else encoder.column_encoders)
    support = _read(args, args.support, model, ROLES)
    return model, model.adapt(support, _read(args, args.users, model, ['user']))


def _read(
    args: argparse.Namespace,
    path: str | None,
    model: TaNPRecommender,
    needed: Sequence[str],
) -> pd.DataFrame | None:
    roles = {role: getattr(model, role) for role in ROLES}
    kinds = {'user': model.users_.dtype, 'item': model.items_.dtype}
    return read(args, path, roles, needed, kinds)
