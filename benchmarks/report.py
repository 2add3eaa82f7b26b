"""One page of all results: tables, curves, ablations, costs, and what was not run.

    python -m benchmarks.report

Reads the JSON files of benchmarks/results and nothing else, and writes one HTML file
that needs no network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.agnn_tables import MODES, read_agnn
from benchmarks.command import plain_parser, run_command
from benchmarks.pages import agnn, costs, origin, tanp
from benchmarks.pages.parts import Section, Text
from benchmarks.pages.render import render
from benchmarks.records import (
    check_results,
    content_of,
    read_json,
    read_reports,
    write_text,
)
from benchmarks.tables import RESULTS, TANP

SINGLE = ('layer', 'serving', 'agnn-serving', 'scale', 'profile', 'tanp-ablation')

Reports = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Results:
    """The content of a folder of results.

    Attributes:
        agnn: Reports on the splits that settings were chosen on.
        fresh: Reports on others.
        tanp: Reports by config.
        ablation: Reports by mode.
        single: By name the content of a file, or none.
    """

    agnn: Reports
    fresh: Reports
    tanp: Mapping[str, Reports]
    ablation: Mapping[str, Reports]
    single: Mapping[str, dict[str, Any] | None]


def read_results(folder: Path) -> Results:
    """Reads whatever is there.

    Raises:
        ValueError: If there is no such folder, nothing in it, or a file is broken.
    """
    check_results(folder)
    paths = {name: folder / f'{name}.json' for name in SINGLE}
    own, fresh = read_agnn(folder)
    return Results(
        agnn=own,
        fresh=fresh,
        tanp={name: read_reports(folder / 'tanp' / name) for name in TANP},
        ablation={
            label: read_reports(
                folder / 'ablation' / f'ml100k-{label.replace(" ", "-")}'
            )
            for label in MODES.values()
        },
        single={n: read_json(p) if p.exists() else None for n, p in paths.items()},
    )


def sections(results: Results) -> list[Section]:
    """The page, from top to bottom."""
    single = results.single
    tasks = {TANP[name]: part for name, part in results.tanp.items()}
    groups = {
        'AGNN': results.agnn,
        'AGNN, fresh splits': results.fresh,
        **{f'TaNP, {name}': part for name, part in tasks.items()},
        **{f'ablation, {name}': part for name, part in results.ablation.items()},
        **{name: [content] for name, content in single.items() if content},
    }
    return [
        Section('glance', 'At a glance', _glance(results)),
        agnn.results_section(
            results.agnn,
            'agnn',
            'AGNN: not one rating',
            'Ratings of MovieLens-100K. Item cold: a fifth of the films have no '
            'rating in training; user cold: a fifth of the users have none; both '
            'cold: the pair of a cold user and a cold film; warm: a random fifth '
            'of the ratings. Settings were chosen on the validation parts of '
            'these splits.',
        ),
        agnn.results_section(
            results.fresh,
            'fresh',
            'AGNN on fresh splits',
            'The same settings on ten further splits.',
        ),
        agnn.learning_section(results.agnn or results.fresh),
        tanp.results_section(results.tanp, TANP),
        agnn.ablation_section(results.ablation, tanp.ablation(single['tanp-ablation'])),
        costs.layer_section(single['layer']),
        costs.serving_section(single['serving'], single['agnn-serving']),
        costs.scaling_section({'Size': single['scale'], 'Profile': single['profile']}),
        origin.not_run_section(
            results.agnn, results.fresh, tasks, results.ablation, single
        ),
        origin.origin_section(groups),
    ]


def _glance(results: Results) -> list[Any]:
    shown = results.fresh if _all_modes(results.fresh) else results.agnn
    where = 'fresh splits' if shown is results.fresh else 'the splits of development'
    return [
        Text(
            f'AGNN rates films and users without a single rating ({where}); TaNP ranks '
            f'for users of whom a few interactions are known. Beside each: the peer '
            f'that is best in the mean.'
        ),
        *agnn.cards(shown),
        *tanp.cards({n: results.tanp[n] for n in ('lastfm', 'ml100k')}, TANP),
    ]


def _all_modes(reports: Reports) -> bool:
    return len({r['config']['data']['mode'] for r in reports}) == 4


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = plain_parser('benchmarks.report', __doc__)
    parser.add_argument(
        '--results', type=Path, default=RESULTS, help='(default: those committed)'
    )
    parser.add_argument(
        '--out',
        dest='page',
        metavar='PAGE',
        type=Path,
        default=Path('runs/report.html'),
        help='the page (default: runs/report.html)',
    )
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    with content_of(args.results):
        shown = sections(read_results(args.results))
    text = render(
        'Results',
        'Cold-start recommendation on PyTorch Geometric, measured: AGNN and TaNP '
        'beside peers, on the same splits in the same runs.',
        shown,
        ('examples.html', 'Worked examples'),
    )
    write_text(args.page, text)
    print(args.page)


if __name__ == '__main__':
    sys.exit(main())
