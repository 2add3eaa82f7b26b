"""The command line of any recommender: fit, update, evaluate, predict, and so on.

Neither pandas nor PyTorch is imported before the arguments are parsed, so that
``--help`` is fast.
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
Tables are CSV, TSV, Parquet or JSON lines. Columns of ids and ratings are recognised by
names such as userId, movie_id or stars, or named by --user, --item and --rating. All
other columns of a table of users or items are attributes: numbers, texts, dates or
lists (--lists genres, for cells like Comedy|War). Empty cells are missing, and so are
those such as NA or null, except ids.

Data goes to standard output, or to the file of --out, and remarks to standard error.
The exit code is 0, or 2 where an argument or a table is wrong.
"""
EDGES = ('user_edges', 'item_edges')
SERVED = ('support', 'users', 'items', *EDGES)
# What commands do, an example of each, and their own arguments.
COMMANDS = {
    'fit': (
        'Train on a table of ratings, and write a model.',
        'ratings.csv --items films.csv --model films',
        ('ratings', 'users', 'items', 'validation', 'set', *EDGES),
    ),
    'update': (
        'Add ratings, and new users and items, to a model.',
        'today.csv{new} --model films',
        ('ratings', 'users', 'items', *EDGES),
    ),
    'evaluate': (
        'Compare predictions with ratings or positives, and print metrics.',
        'later.csv{new} --model films',
        ('ratings', *SERVED, 'k'),
    ),
    'predict': (
        'Rate pairs of users and items.',
        'pairs.csv{new} --model films > rated.csv',
        ('pairs', 'out', *SERVED, 'samples'),
    ),
    'recommend': (
        'List the items that users will rate highest.',
        '7 8 -k 5{new} --model films',
        ('ids', 'items', 'k', 'include_seen', 'out', *SERVED, 'samples'),
    ),
    'explain': (
        'Say why a user is predicted to rate an item so.',
        '7 1193{new} --model films',
        ('user_id', 'item_id', *SERVED),
    ),
}
Text = str | None
Texts = list[str]


def _argument(kind: Any, help: str, default: Any = ...) -> tuple[Any, Any]:
    return kind, typer.Argument(default, help=help)


def _option(
    kind: Any, help: str, metavar: str | None = None, *flags: str, default: Any = None
) -> tuple[Any, Any]:
    return kind, typer.Option(default, *flags, metavar=metavar, help=help)


def _flag(help: str, name: str) -> tuple[Any, Any]:
    return _option(bool, help, None, name, default=False)


SUPPORT = 'User, item, rating: what new users have rated.'
# All arguments and options by name.
ARGUMENTS = {
    'ratings': _argument(str, 'User, item, rating; a row a rating.'),
    'pairs': _argument(str, 'User, item; a row a pair.'),
    'ids': _argument(Texts, 'Users (default: all that are given).', None),
    'user_id': _argument(str, 'Id of the user.'),
    'item_id': _argument(str, 'Id of the item.'),
    'support': _option(Text, SUPPORT, 'FILE'),
    'users': _option(Text, 'Attributes of users; to serve, of new ones.', 'FILE'),
    'items': _option(Text, 'Attributes of items; to serve, of new ones.', 'FILE'),
    'user_edges': _option(Text, 'A graph of users: two ids, perhaps weight.', 'FILE'),
    'item_edges': _option(Text, 'A graph of items: two ids, perhaps weight.', 'FILE'),
    'validation': _option(Text, 'Ratings to select the epoch by.', 'FILE'),
    'out': _option(Text, 'File to write: .csv, .tsv or .parquet.', 'FILE'),
    'k': _option(int, 'Items a user (default: 10, to evaluate 20).', None, '-k'),
    'include_seen': _flag('Also what users have rated.', '--include-seen'),
    'samples': _option(int, 'Samples of z, for a column std.', default=0),
    'set': _option(
        Texts,
        'A setting, such as epochs=20 or "item_attributes=[\'year\']"; repeatable.',
        'NAME=VALUE',
        default=[],
    ),
    'model': _option(str, 'Folder of the model.', 'FOLDER', default=...),
    'user': _option(Text, 'Column of users (default: by its name).', 'COLUMN'),
    'item': _option(Text, 'Column of items (default: by its name).', 'COLUMN'),
    'rating': _option(
        Text,
        'Column of ratings (default: by its name), or none: only positives.',
        'COLUMN',
    ),
    'lists': _option(Texts, 'A column of lists; repeatable.', 'COLUMN', default=[]),
    'list_separator': _option(Text, 'In a list (default: that of the fit, |).', 'TEXT'),
    'quiet': _flag('No progress bar, no remarks.', '--quiet'),
}
COMMON = ('model', 'user', 'item', 'rating', 'lists', 'list_separator', 'quiet')
logger = logging.getLogger(__name__)


class CommandLine:
    """The command :obj:`name` of a recommender: a call runs what its arguments say.

    Its class, such as ``"package.module:Class"``, is one of
    :mod:`agnn_pyg.base.commands`, imported when a command runs. If it :obj:`adapts`,
    users are served after their first ratings, ``--support``.
    """

    def __init__(
        self, name: str, recommender: str, help: str, adapts: bool = False
    ) -> None:
        self.name = name
        self.recommender = recommender
        # Plain text: the same in a pipe, and nobody waits for rich.
        plain = {'pretty_exceptions_enable': False, 'rich_markup_mode': None}
        help = f'{help}\n\n{FILES}'
        self.app = typer.Typer(help=help, add_completion=False, **plain)
        new = ' --support first.csv' if adapts else ' --items new_films.csv'
        unfit = EDGES if adapts else ('samples',)
        for command, (text, example, names) in COMMANDS.items():
            if command == 'update' and adapts:
                continue  # first ratings of users are enough
            example = f'\b\nexample:\n  {name} {command} {example.format(new=new)}'
            kinds = {n: ARGUMENTS[n] for n in (*names, *COMMON) if n not in unfit}
            if command == 'recommend':
                choice = 'Items to choose from; with attributes, also new ones.'
                kinds['items'] = _option(Text, choice, 'FILE')
            if adapts and command == 'evaluate':
                given = f'{SUPPORT} (default: the first half of rows of each user)'
                kinds['support'] = _option(Text, given, 'FILE')
            elif adapts and 'support' in kinds:
                kinds['support'] = _option(str, SUPPORT, 'FILE', default=...)
            parser = self._parser(command, kinds)
            self.app.command(command, help=text, epilog=example)(parser)

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs a command; 0 is success, 2 a wrong argument or table, 130 Ctrl+C."""
        argv = sys.argv[1:] if argv is None else argv
        try:
            self.app(argv or ['--help'], prog_name=self.name)
        except SystemExit as stopped:
            return stopped.code or 0

    def _run(self, command: str, args: SimpleNamespace) -> int:
        """Runs a command with its parsed arguments, and returns the exit code."""
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
            # The reader, `head` perhaps, has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (ValueError, OSError, ImportError) as error:
            sys.stderr.write(f'error: {error}\n')
            return 2
        except KeyboardInterrupt:
            sys.stderr.write('interrupted\n')
            return 130
        return 0

    def _parser(self, command: str, kinds: Mapping[str, tuple[Any, Any]]) -> Callable:
        """A function whose arguments Typer parses, and which runs the command."""

        def run(**values: Any) -> None:
            # Arguments that a command lacks are None.
            args = SimpleNamespace(**dict.fromkeys(ARGUMENTS) | values)
            raise typer.Exit(self._run(command, args))

        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(
            inspect.Parameter(name, keyword, default=default, annotation=kind)
            for name, (kind, default) in kinds.items()
        )
        return run


@contextmanager
def _remarks(quiet: bool) -> Iterator[None]:
    """Writes logs and warnings to standard error, without lines of code."""
    from agnn_pyg.base.checks import TableWarning

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(message)s'))
    package = logging.getLogger('agnn_pyg')
    package.addHandler(handler)
    package.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('always', TableWarning)
            # What PyTorch tells PyG is of no use in a shell.
            warnings.filterwarnings('ignore', '.*torch.jit.*')
            warnings.showwarning = lambda text, *_, **__: logger.info('%s', text)
            yield
    finally:
        package.removeHandler(handler)
