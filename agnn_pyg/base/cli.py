"""Command line of a recommender: fit, update, evaluate, predict, recommend, explain.

Arguments are parsed before pandas and PyTorch are imported, so ``--help`` is fast.
"""

from __future__ import annotations

import inspect
import logging
import os
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import typer

FILES = """\
Tables are CSV, TSV, JSON lines, also gzipped (.csv.gz), or Parquet. Columns of ids and
ratings are recognized by names such as userId, movie_id or stars; --user, --item and
--rating name others. All other columns of users or items are attributes: numbers,
texts, dates or lists (--lists genres, for cells like Comedy|War). Empty cells are
missing values. Cells such as NA, None or null are too, except in columns of ids.

Results go to standard output, or to the file given by --out; messages go to standard
error. The exit code is 0 on success, and 2 if an argument or a table is invalid.
"""
EDGES = ('user_edges', 'item_edges')
SERVED = ('support', 'users', 'items', *EDGES)
# For each command: its help, an example, and the names of its arguments.
COMMANDS = {
    'fit': (
        'Train on a table of ratings and save the model.',
        'ratings.csv --items films.csv --model films',
        ('ratings', 'users', 'items', 'validation', 'set', *EDGES),
    ),
    'update': (
        'Add ratings, new users and new items to a model.',
        'today.csv{new} --model films',
        ('ratings', 'users', 'items', *EDGES),
    ),
    'evaluate': (
        'Print metrics of predictions for ratings or positives.',
        'later.csv{new} --model films',
        ('ratings', *SERVED, 'k'),
    ),
    'predict': (
        'Predict the ratings of pairs of users and items.',
        'pairs.csv{new} --model films > rated.csv',
        ('pairs', 'out', *SERVED, 'samples'),
    ),
    'recommend': (
        'List the items with the highest predictions for each user.',
        '7 8 -k 5{new} --model films',
        ('ids', 'items', 'k', 'include_seen', 'out', *SERVED, 'samples'),
    ),
    'explain': (
        'Explain the prediction for a user and an item.',
        '7 1193{new} --model films',
        ('user_id', 'item_id', *SERVED),
    ),
}
Text = str | None
Texts = list[str]


def _argument(type_: Any, help: str, default: Any = ...) -> tuple[Any, Any]:
    return type_, typer.Argument(default, help=help)


def _option(
    type_: Any, help: str, metavar: str | None = None, *flags: str, default: Any = None
) -> tuple[Any, Any]:
    return type_, typer.Option(default, *flags, metavar=metavar, help=help)


def _flag(help: str, name: str) -> tuple[Any, Any]:
    return _option(bool, help, None, name, default=False)


SUPPORT = 'Ratings of new users: user, item, rating.'
# All arguments and options by name.
ARGUMENTS = {
    'ratings': _argument(str, 'Table of ratings: user, item, rating.'),
    'pairs': _argument(str, 'Table of pairs: user, item.'),
    'ids': _argument(
        Texts, 'Ids of users, with spaces between them (default: all).', None
    ),
    'user_id': _argument(str, 'Id of the user.'),
    'item_id': _argument(str, 'Id of the item.'),
    'support': _option(Text, SUPPORT, 'FILE'),
    'users': _option(Text, 'Attributes of users; after the fit, of new ones.', 'FILE'),
    'items': _option(Text, 'Attributes of items; after the fit, of new ones.', 'FILE'),
    'user_edges': _option(Text, 'Edges of users: two ids, optional weight.', 'FILE'),
    'item_edges': _option(Text, 'Edges of items: two ids, optional weight.', 'FILE'),
    'validation': _option(Text, 'Ratings that select the best epoch.', 'FILE'),
    'out': _option(Text, 'File to write: .csv, .tsv, .txt or .parquet.', 'FILE'),
    'k': _option(int, 'Items per user (default: 10; evaluate: 20).', None, '-k'),
    'include_seen': _flag('Also list items that the user rated.', '--include-seen'),
    'samples': _option(
        int, 'Samples of z, with latent_channels; adds a column std.', default=0
    ),
    'set': _option(
        Texts,
        'A setting, such as epochs=20 or "item_attributes=[\'year\']"; repeatable.',
        'NAME=VALUE',
        default=[],
    ),
    'model': _option(str, 'Folder of the model.', 'FOLDER', default=...),
    'user': _option(Text, 'Column of user ids (default: by name).', 'COLUMN'),
    'item': _option(Text, 'Column of item ids (default: by name).', 'COLUMN'),
    'rating': _option(
        Text,
        'Column of ratings (default: by name); none: each row is a positive.',
        'COLUMN',
    ),
    'lists': _option(Texts, 'A column of lists; repeatable.', 'COLUMN', default=[]),
    'list_separator': _option(
        Text, 'List separator (default: as in fit, or |).', 'TEXT'
    ),
    'quiet': _flag('Show no progress bar and no messages.', '--quiet'),
}
COMMON = ('model', 'user', 'item', 'rating', 'lists', 'list_separator', 'quiet')
logger = logging.getLogger(__name__)


class CommandLine:
    """The shell command :obj:`name` of a recommender; call it to parse and run.

    :obj:`recommender` names a class for :mod:`agnn_pyg.base.commands`, such as
    ``"package.module:Class"``. It is imported when a command runs. If it
    :obj:`adapts`, it predicts for users from their first ratings, ``--support``.
    """

    def __init__(
        self, name: str, recommender: str, help: str, adapts: bool = False
    ) -> None:
        self.name = name
        self.recommender = recommender
        # Plain text is the same in a pipe and needs no import of rich.
        plain = {'pretty_exceptions_enable': False, 'rich_markup_mode': None}
        help = f'{help}\n\n{FILES}'
        self.app = typer.Typer(help=help, add_completion=False, **plain)
        new = ' --support first.csv' if adapts else ' --items new_films.csv'
        unfit = EDGES if adapts else ('samples',)
        for command, (text, example, names) in COMMANDS.items():
            if command == 'update' and adapts:
                continue  # `adapt` needs no update
            example = f'\b\nexample:\n  {name} {command} {example.format(new=new)}'
            options = {n: ARGUMENTS[n] for n in (*names, *COMMON) if n not in unfit}
            if command == 'recommend':
                choice = 'Candidate items; new ones need attributes.'
                options['items'] = _option(Text, choice, 'FILE')
            if adapts and command == 'evaluate':
                given = f'{SUPPORT} (default: the first half of rows per user)'
                options['support'] = _option(Text, given, 'FILE')
            elif adapts and 'support' in options:
                options['support'] = _option(str, SUPPORT, 'FILE', default=...)
            parser = self._parser(command, options)
            self.app.command(command, help=text, epilog=example)(parser)

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs a command; returns 0, 2 (invalid argument or table) or 130 (Ctrl+C)."""
        argv = sys.argv[1:] if argv is None else argv
        try:
            self.app(argv or ['--help'], prog_name=self.name)
        except SystemExit as stopped:
            return stopped.code or 0

    def _run(self, command: str, args: SimpleNamespace) -> int:
        """Runs a command with parsed arguments; returns the exit code."""
        try:
            with _remarks(args.quiet):
                from agnn_pyg.base.commands import Served, check_files, fit

                check_files(command, args)  # before an import that takes seconds
                recommender = pkgutil.resolve_name(self.recommender)
                if command == 'fit':
                    fit(recommender, args)
                else:
                    getattr(Served(recommender, args), command)()
                sys.stdout.flush()
        except BrokenPipeError:
            # The reader of the pipe, such as `head`, has closed it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (ValueError, OSError, ImportError) as error:
            sys.stderr.write(f'error: {error}\n')
            return 2
        except KeyboardInterrupt:
            sys.stderr.write('interrupted\n')
            return 130
        return 0

    def _parser(self, command: str, options: Mapping[str, tuple[Any, Any]]) -> Callable:
        """The function that Typer calls with parsed arguments."""

        def run(**values: Any) -> None:
            # Arguments of other commands are None.
            args = SimpleNamespace(**dict.fromkeys(ARGUMENTS) | values)
            raise typer.Exit(self._run(command, args))

        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(
            inspect.Parameter(name, keyword, default=default, annotation=type_)
            for name, (type_, default) in options.items()
        )
        return run


@contextmanager
def _remarks(quiet: bool) -> Iterator[None]:
    """Writes logs and warnings to standard error, without source lines."""
    from agnn_pyg.base.checks import TableWarning

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(message)s'))
    package = logging.getLogger('agnn_pyg')
    package.addHandler(handler)
    package.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('always', TableWarning)
            # PyTorch deprecations that concern PyG, not the user.
            warnings.filterwarnings('ignore', '.*torch.jit.*')
            warnings.showwarning = lambda text, *_, **__: logger.info('%s', text)
            yield
    finally:
        package.removeHandler(handler)
