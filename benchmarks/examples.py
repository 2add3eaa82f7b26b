"""A page of worked examples: real films and users that arrive after the fit.

    python -m benchmarks.examples

Fits AGNNRecommender and TaNPRecommender on MovieLens-100K without some users and
films (minutes; kept for the next time), and shows what is predicted for those, what
they really got, and why.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.command import plain_parser, run_command
from benchmarks.held_out import fitted_agnn, fitted_tanp, hold_out
from benchmarks.pages.films import films_section
from benchmarks.pages.render import render
from benchmarks.pages.users import support_section, users_section
from benchmarks.records import write_text
from data.movielens import load_ml100k
from data.synthetic import planted_tables

SETTINGS = {
    'user_attributes': ['age', 'gender', 'occupation'],
    'item_attributes': ['genre', 'country', 'year'],
}
SMOKE = {'epochs': 1}
SHORT_MESSAGES = {'message_steps': 1, 'message_folds': 2}


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.examples', __doc__)
    parser.add_argument(
        '--out',
        dest='page',
        metavar='PAGE',
        type=Path,
        default=Path('runs/examples.html'),
        help='the page (default: runs/examples.html)',
    )
    parser.add_argument(
        '--models',
        type=Path,
        default=Path('runs/examples'),
        help='where fitted models are kept (default: runs/examples)',
    )
    parser.add_argument('--force', action='store_true', help='fit them anew')
    parser.add_argument('--smoke', action='store_true', help='tiny planted data')
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    write_text(args.page, page(args.models, args.force, args.smoke))
    print(args.page)


def page(models: Path, force: bool = False, smoke: bool = False) -> str:
    """The page as HTML; models are read from a folder, or written to it."""
    tables = planted_tables(120, density=0.5) if smoke else load_ml100k()
    held = hold_out(tables)
    options = {'force': force, **(SMOKE if smoke else {})}
    short = SHORT_MESSAGES if smoke else {}
    agnn = fitted_agnn(held, models / 'agnn', **SETTINGS, **short, **options)
    tanp = fitted_tanp(held, models / 'tanp', item_attributes=['genre'], **options)
    sections = [
        films_section(held, agnn),
        users_section(held, agnn),
        support_section(held, agnn, tanp),
    ]
    lead = (
        'Films and users that arrive after the fit, chosen by rules and not by taste: '
        'what is predicted for them, what they really got, and why.'
    )
    return render('Worked examples', lead, sections, ('report.html', 'Results'))


if __name__ == '__main__':
    sys.exit(main())
