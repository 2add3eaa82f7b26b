"""What both commands have in common: arguments, settings, errors on one line."""

from __future__ import annotations

import argparse
import ast
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from agnn_pyg.base.checks import nearest
from agnn_pyg.base.io import read_columns, read_file, recognised

if TYPE_CHECKING:
    from agnn_pyg.base.columns import ColumnEncoder

ROLES = ('user', 'item', 'rating')
# Arguments that are files of tables.
TABLES = ('ratings', 'validation', 'pairs', 'support', 'users', 'items')
SEPARATOR = '|'
# What a command, not the model, must know of the files that a model was fitted on.
NOTES = 'shell.json'


def run(
    parser: argparse.ArgumentParser, package: str, argv: Sequence[str] | None
) -> int:
    """Parses arguments, runs what they ask for, and returns the exit code.

    0 is success, 2 a wrong argument or table, 130 an interruption. Data goes to
    standard output and everything else to standard error. Without any argument,
    help is printed.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser.print_help()
        return 0
    args = parser.parse_args(argv)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(message)s'))
    logger = logging.getLogger(package)
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if args.quiet else logging.INFO)
    try:
        with _warnings_as_remarks(logger):
            _check_lists(args)
            args.run(args)
    except BrokenPipeError:
        # Whoever reads, `head` perhaps, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f'error: {error}\n')
        return 2
    except KeyboardInterrupt:
        sys.stderr.write('interrupted\n')
        return 130
    finally:
        logger.removeHandler(handler)
    return 0


@contextmanager
def _warnings_as_remarks(logger: logging.Logger) -> Iterator[None]:
    """Shows warnings as remarks are: without the line of code that they come from."""
    with warnings.catch_warnings():
        warnings.filterwarnings('always', category=UserWarning, module='agnn_pyg|tanp')
        warnings.showwarning = lambda message, *_, **__: logger.info('%s', message)
        yield


def add_command(
    commands: Any, name: str, run: Callable, help: str, example: str
) -> argparse.ArgumentParser:
    """Adds a subcommand with an example, and the arguments that all have."""
    parser = commands.add_parser(
        name,
        help=help,
        description=f'{help}.',
        epilog=f'example:\n  {example}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, texts=())
    add = parser.add_argument
    add('--model', required=True, metavar='FOLDER', help='folder of the model')
    add('--quiet', action='store_true', help='no progress bar, no remarks')
    for role in ROLES:
        help = f'column of {role}s in all tables (default: recognised by its name)'
        add(f'--{role}', metavar='COLUMN', help=help)
    add('--lists', nargs='+', default=[], metavar='COLUMN', help='columns with lists')
    help = 'in a list (default: as in the fit, or |)'
    add('--list-separator', metavar='TEXT', help=help)
    return parser


def _check_lists(args: argparse.Namespace) -> None:
    """Raises ``ValueError`` if ``--lists`` names a column that no table has."""
    if args.lists:
        paths = [path for name in TABLES if (path := getattr(args, name, None))]
        known = [column for path in paths for column in read_columns(path)]
        for column in set(args.lists).difference(known):
            raise ValueError(
                f"'--lists' names a column '{column}', which no table has"
                f'{nearest(column, known)}; correct it, or leave it out'
            )


def note_lists(args: argparse.Namespace) -> None:
    """Writes beside a model how lists were separated in what it was fitted on."""
    notes = {'list_separator': args.list_separator or SEPARATOR}
    (Path(args.model) / NOTES).write_text(json.dumps(notes), encoding='utf-8')


def read_as_fitted(args: argparse.Namespace, fields: Iterable[ColumnEncoder]) -> None:
    """Reads attributes as those that the model was fitted on.

    Texts are texts, even where all look like numbers in a new file. Lists are lists,
    unless arguments say otherwise.

    Args:
        args: The arguments, which are changed.
        fields: What the model knows of attributes.
    """
    fields = list(fields)
    args.texts = [f.column for f in fields if any(isinstance(v, str) for v in f.values)]
    args.lists = args.lists or [f.column for f in fields if f.stype == 'multi']
    notes = Path(args.model) / NOTES
    if args.list_separator is None and notes.is_file():
        try:
            noted = json.loads(notes.read_text(encoding='utf-8'))
            args.list_separator = str(noted['list_separator'])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"'{notes}' is damaged ({error!r}); say --list-separator"
            ) from error


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds ``--set``, for whatever the recommender can be told."""
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='settings of the recommender, such as epochs=20',
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of ``--set``: Python's literals, or else texts.

    Raises:
        ValueError: If one has no value.
    """
    settings = {'progress': not args.quiet}
    for text in args.set:
        name, equals, value = text.partition('=')
        if not equals:
            raise ValueError(f"'--set' takes NAME=VALUE (got '{text}')")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings


def roles_of(args: argparse.Namespace, path: str) -> dict[str, str]:
    """What the columns of a file of ratings are called, by role."""
    columns = read_columns(path)
    return {
        role: getattr(args, role) or recognised(columns, role) or role for role in ROLES
    }


def read(
    args: argparse.Namespace,
    path: str | None,
    roles: Mapping[str, str],
    needed: Sequence[str],
    kinds: Mapping[str, str] | None = None,
) -> pd.DataFrame | None:
    """Reads a file of the command line, if there is one.

    Args:
        args: The arguments.
        path: The file.
        roles: The names that columns shall have, by role.
        needed: Roles to look for.
        kinds: Kinds of ids by role.
    """
    if path is None:
        return None
    return read_file(
        path,
        roles={role: roles[role] for role in needed},
        named={role: getattr(args, role) for role in needed if getattr(args, role)},
        id_dtypes=kinds,
        texts=args.texts,
        lists=args.lists,
        list_separator=args.list_separator or SEPARATOR,
    )
