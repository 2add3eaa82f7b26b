"""Renders a page of all results: tables, charts, ablations, costs, missing runs.

    python -m benchmarks.report                   # one HTML file that needs no network
    python -m benchmarks.report README.md benchmarks/README.md   # also fills tables

Both read only the rows of benchmarks/results.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks import plots, records, tables
from benchmarks.plots import chart
from benchmarks.stats import newest, score
from benchmarks.suite import SUITES, Suite, load_suite
from benchmarks.tables import COSTS, CURVE, Table, columns_of, words, written

PAGES = Path(__file__).parent / 'pages'
SHOWN = 'rating', 'few-shot-lastfm'  # suites with figures in Markdown pages
NOTE = (
    'Settings and epochs are selected on validation parts only; each test part is '
    'scored once. “+”: files of the code differed from the commit.'
)


def page(rows: pd.DataFrame, perf: pd.DataFrame, folder: Path) -> str:
    """Renders the page as one self-contained file from a template."""
    found = map(load_suite, SUITES.glob('*.toml'))
    suites = sorted(found, key=lambda x: (x.has_positives, x.name))
    kinds: dict[str, list[Suite]] = {'rating': [], 'few-shot': [], 'ablation': []}
    for suite in suites:
        kind = 'few-shot' if suite.is_few_shot else 'rating'
        if (rows['suite'] == suite.name).any():
            kinds['ablation' if suite.is_ablation else kind].append(suite)
    shown = [x for x in kinds['rating'] if x.name == 'rating'] + kinds['few-shot']
    measured = set(perf['benchmark'])
    options = {'autoescape': True, 'trim_blocks': True, 'lstrip_blocks': True}
    options |= {'loader': FileSystemLoader(PAGES), 'undefined': StrictUndefined}
    environment = Environment(**options)
    environment.filters['typeset'] = typeset
    return environment.get_template('report.html').render(
        figures={n: chart(figure, n) for n, figure in figures(rows, perf).items()},
        headlines=[card for suite in shown for card in cards(rows, suite)],
        suites={k: [suite_parts(rows, x) for x in of] for k, of in kinds.items()},
        costs=[tables.cost_table(perf, name) for name in COSTS if name in measured],
        not_run=not_run(rows, suites),
        origin=origin(rows, folder),
    )


def typeset(text: str) -> str:
    """Replaces hyphens by minus signs and prevents line breaks around ±."""
    return re.sub(r'(?<![\w.-])-(?=[\d.])', '−', text).replace(' ± ', '\xa0±\xa0')


def figures(rows: pd.DataFrame, perf: pd.DataFrame) -> dict[str, Any]:
    """The figures of Markdown pages by file name."""
    rating, few_shot = (load_suite(SUITES / f'{name}.toml') for name in SHOWN)
    (part,) = columns_of(rows, few_shot).values()
    drawn = {'time': plots.time_figure(columns_of(rows, rating), rating)}
    drawn['support-size'] = plots.support_curve(part, few_shot)
    if len(perf):
        drawn |= {'layer': plots.layer_figure(perf), 'scale': plots.scale_figure(perf)}
    return drawn


def cards(rows: pd.DataFrame, suite: Suite) -> Iterator[tuple[str, str, str]]:
    """Texts that compare our model with the best baseline, one per column."""
    metric = CURVE if suite.is_few_shot else suite.metric
    for name, part in columns_of(rows, suite).items():
        place = words(suite.data[0]) if suite.is_few_shot else name
        title = f'{place[0].upper()}{place[1:]}, {words(metric)}'
        best, gap, won, _ = tables.against_best(part, suite, metric)
        other = written(score(part, best, metric))
        text = f'{best}: {other}. Difference {gap}; better on {won} splits'
        yield title, written(score(part, suite.own, metric)), text if won else ''


def suite_parts(rows: pd.DataFrame, suite: Suite) -> dict[str, Any]:
    """Tables of a suite, with charts of differences or of scores by support size."""
    own = [x for x in suite.labels if tables.base_of(x, suite) != suite.own]
    own += [suite.own, f'{words(suite.metric)}, {suite.own} − best baseline']
    parts = {'title': suite.title, 'tables': [*tables.tables_of(rows, suite)]}
    parts |= {'own': own, 'sensitivity': None, 'charts': []}
    if suite.is_ablation or suite.has_positives:
        return parts
    columns = columns_of(rows, suite)
    if suite.is_few_shot:
        parts['sensitivity'] = tables.sensitivity_line(rows, suite)
        figure = plots.support_curve(columns.pop('few shot'), suite)
        curve = chart(figure, suite.name, 'nDCG@10 by the size of the support')
        parts['charts'].append(curve)
    for number, (name, part) in enumerate(columns.items()):
        figure = plots.lead_dots(part, suite)
        if figure is not None:
            caption = f'How far others are behind {suite.own}, {name} (dots: splits)'
            parts['charts'].append(chart(figure, f'{suite.name}-{number}', caption))
    return parts


def not_run(rows: pd.DataFrame, suites: Sequence[Suite]) -> Table:
    """Runs of suites that have no rows, so that nobody mistakes a gap for a result."""
    found = []
    for suite in suites:
        for column, part in columns_of(rows, suite).items():
            lacking = [x for x in suite.labels if x not in set(part['estimator'])]
            what = ', '.join(lacking) if len(part) else 'all'
            found += [(f'{suite.title}, {column}', what)] if lacking else []
    found.append(('CUDA', 'every run above used a CPU'))
    return Table(('suite', 'not run'), found, 'Runs of suites that have no results.')


def origin(rows: pd.DataFrame, folder: Path) -> Table:
    """Where and at which commits figures were measured."""
    found = []
    for name, part in rows.groupby('suite', sort=False):
        peak, minutes = part['peak_memory_mb'].max(), part['seconds'].sum() / 60
        cells = [name, f'{len(part):,}', f'{minutes:,.0f}', f'{peak:,.0f}']
        cells.append(', '.join(sorted(set(part['commit']))))
        found.append([*cells, records.hardware_line(part['environment'], folder)])
    header = ('suite', 'rows', 'minutes', 'peak, MB', 'commits', 'measured on')
    return Table(header, found, NOTE)


def readme_blocks(
    rows: pd.DataFrame, perf: pd.DataFrame, folder: Path
) -> dict[str, str]:
    """Tables of Markdown pages by name: suites, a summary of two suites, and costs."""
    blocks = {}
    for suite in map(load_suite, SUITES.glob('*.toml')):
        own = rows[rows['suite'] == suite.name]
        if own.empty:
            continue
        found = [table.markdown() for table in tables.tables_of(rows, suite)]
        if suite.is_few_shot and not suite.is_ablation:
            found.append(tables.sensitivity_line(rows, suite))
        found.append(records.hardware_line(own['environment'], folder))
        blocks[f'{suite.name} results'] = '\n\n'.join(found)
    summed = [load_suite(SUITES / f'{name}.toml') for name in ('rating', 'public')]
    blocks['summary results'] = tables.summary_table(rows, summed).markdown()
    for name in perf['benchmark'].unique():
        blocks[f'{name} results'] = tables.cost_table(perf, name).markdown()
    return blocks


def fill(text: str, blocks: dict[str, str]) -> str:
    """Replaces text between ``<!-- NAME results -->`` and its end mark, ``/NAME``."""
    begun = re.findall(r'<!-- ([\w -]+ results) -->', text)
    pattern = re.compile(r'<!-- ([\w -]+ results) -->\n.*?\n<!-- /\1 -->', re.DOTALL)
    ended = pattern.findall(text)
    if begun != ended or not {*ended} <= blocks.keys():
        raise ValueError(
            f"each '<!-- NAME results -->' must have an end mark and a NAME results "
            f'in {", ".join(blocks)} (got {", ".join(begun)})'
        )
    page = '<!-- {0} -->\n{1}\n<!-- /{0} -->'
    return pattern.sub(lambda found: page.format(found[1], blocks[found[1]]), text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    title = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser('python -m benchmarks.report', description=title)
    add = parser.add_argument
    add('pages', type=Path, nargs='*', metavar='PAGE', help='Markdown file to fill')
    add('--results', type=Path, default=records.RESULTS)
    add('--out', type=Path, default=Path('runs/report.html'))
    args = parser.parse_args(argv)
    folder = args.results
    try:
        rows, perf = newest(records.read_runs(folder)), records.read_perf(folder)
        records.write_text(args.out, page(rows, perf, folder))
        print(args.out)
        if args.pages:
            blocks = readme_blocks(rows, perf, folder)
            for path in args.pages:
                records.write_text(path, fill(path.read_text('utf-8'), blocks))
            for name, figure in figures(rows, perf).items():
                # Omit the time stamp.
                figure.savefig(folder / f'{name}.png', metadata={'Software': None})
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
