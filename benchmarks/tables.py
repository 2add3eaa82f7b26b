"""Tables from reports, and from nothing else.

python -m benchmarks.tables --write README.md benchmarks/README.md
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import tanp_tables
from benchmarks.ablation_tables import ablation_tables
from benchmarks.agnn_serving import agnn_serving_table
from benchmarks.agnn_tables import (
    lead_table,
    read_agnn,
    rmse_table,
    summary_table,
)
from benchmarks.command import plain_parser, run_command
from benchmarks.layer_plots import layer_table
from benchmarks.markdown import NOT_RUN
from benchmarks.paired import paired_table
from benchmarks.profile_tables import profile_table
from benchmarks.records import (
    check_results,
    content_of,
    read_json,
    read_reports,
    write_text,
)
from benchmarks.scale_plots import scale_table
from benchmarks.serving import serving_table
from benchmarks.tanp_ablation import ablation_table

RESULTS = Path(__file__).parent / 'results'
TANP = {
    'lastfm': 'Last.FM',
    'ml100k': 'MovieLens-100K',
    'lastfm-as-published': 'Last.FM, the published model',
}


def hardware_line(reports: Sequence[dict[str, Any]]) -> str:
    """Where the figures were measured."""
    lines = set()
    for report in reports:
        e = report['environment']
        device = f'{e["cpu"]}, {e["threads"]} thread(s)'
        device = device if e['device'] == 'cpu' else e['device']
        lines.add(
            f'{device}; Python {e["python"]}, torch {e["torch"]}, '
            f'torch-geometric {e["torch_geometric"]}'
        )
    return 'Measured on: ' + ' | '.join(sorted(lines)) + '.'


def fill(text: str, blocks: dict[str, str]) -> str:
    """Replaces what stands between ``<!-- NAME results -->`` and its end.

    Raises:
        ValueError: If a name is not of the blocks, is there twice, or lacks its end
            ``<!-- /NAME results -->``; or if there is no such place.
    """
    names = re.findall(r'<!-- ([\w -]+ results) -->', text)
    if not names:
        raise ValueError(f"The text lacks a place '<!-- {next(iter(blocks))} -->'")
    for name in names:
        start, end = f'<!-- {name} -->', f'<!-- /{name} -->'
        if name not in blocks:
            raise ValueError(f"No table is called '{name}'; known are {list(blocks)}")
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"The text lacks one '{start}' and one '{end}'")
        before, rest = text.split(start)
        text = f'{before}{start}\n{blocks[name]}\n{end}{rest.split(end)[1]}'
    return text


def readme_blocks(results: Path = RESULTS) -> dict[str, str]:
    """What the pages of the repository show of the committed results, by name.

    Raises:
        ValueError: If there are no results, or a file is broken.
    """
    check_results(results)
    agnn, fresh = read_agnn(results)
    tanp = {name: read_reports(results / 'tanp' / name) for name in TANP}
    return {
        'agnn-short results': _measured(rmse_table, agnn),
        'agnn results': _measured(summary_table, agnn),
        'agnn-lead results': _measured(lead_table, agnn),
        'fresh-short results': _measured(rmse_table, fresh),
        'fresh results': _measured(summary_table, fresh),
        'fresh-lead results': _measured(paired_table, fresh),
        'ablation results': _ablation_block(results / 'ablation'),
        'tanp-short results': _tanp_short(tanp),
        'tanp results': _tanp_block(tanp),
        **{
            f'{name} results': _single(table, results / f'{name}.json')
            for name, table in SINGLE.items()
        },
    }


# Results that are one JSON file each.
SINGLE: dict[str, Callable[[Any], str]] = {
    'tanp-ablation': lambda content: ablation_table(content['runs']),
    'layer': layer_table,
    'serving': serving_table,
    'agnn-serving': agnn_serving_table,
    'profile': profile_table,
    'scale': scale_table,
}


def _single(table: Callable[[Any], str], path: Path) -> str:
    """A table of the content of one file, and where it is from."""
    if not path.exists():
        return NOT_RUN
    content = read_json(path)
    with content_of(path):
        return f'{table(content)}\n\n{hardware_line([content])}'


def _measured(table: Callable[[Any], str], reports: Sequence[dict[str, Any]]) -> str:
    """A table of reports, and where they are from."""
    return f'{table(reports)}\n\n{hardware_line(reports)}' if reports else NOT_RUN


def _ablation_block(results: Path) -> str:
    parts = []
    for path in sorted(results.glob('*')):
        reports = read_reports(path)
        if reports:
            parts += [f'**{path.name}**', *ablation_tables(reports).values()]
            parts.append(hardware_line(reports))
    return '\n\n'.join(parts) or NOT_RUN


def _tanp_short(tanp: dict[str, list[dict[str, Any]]]) -> str:
    """The two data sets in a few columns each."""
    parts = []
    for name in ('lastfm', 'ml100k'):
        if not tanp[name]:
            parts.append(f'**{TANP[name]}**: {NOT_RUN}.')
            continue
        parts += [_tanp_title(name, tanp[name]), tanp_tables.short_table(tanp[name])]
    return '\n\n'.join(parts)


def _tanp_block(tanp: dict[str, list[dict[str, Any]]]) -> str:
    parts = []
    for name, reports in tanp.items():
        if not reports:
            parts.append(f'**{TANP[name]}**: {NOT_RUN}.')
            continue
        parts += [
            _tanp_title(name, reports),
            tanp_tables.summary_table(reports),
            tanp_tables.size_table(reports),
            tanp_tables.sensitivity_line(reports),
            hardware_line(reports),
        ]
    return '\n\n'.join(parts)


def _tanp_title(name: str, reports: Sequence[dict[str, Any]]) -> str:
    seeds, splits = (
        len({r['config'][key] for r in reports}) for key in ('seed', 'split_seed')
    )
    return f'**{TANP[name]}** (splits × model seeds: {splits} × {seeds})'


def main(argv: list[str] | None = None) -> int:
    """Prints the tables, or writes them into pages."""
    parser = plain_parser('benchmarks.tables', 'Tables of committed results.')
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument(
        '--write',
        type=Path,
        nargs='+',
        default=[],
        metavar='PAGE',
        help='pages to fill',
    )
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    with content_of(args.results):
        blocks = readme_blocks(args.results)
    filled = {
        page: fill(page.read_text(encoding='utf-8'), blocks) for page in args.write
    }
    for page, text in filled.items():
        write_text(page, text)
    if not filled:
        print('\n\n'.join(f'{name}\n\n{block}' for name, block in blocks.items()))


if __name__ == '__main__':
    sys.exit(main())
