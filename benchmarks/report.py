"""A page of all results: tables, charts, ablations, costs, and what was not run.

    python -m benchmarks.report

Reads the rows of benchmarks/results and nothing else, and writes one HTML file that
needs no network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import plots, records, tables
from benchmarks.pages.parts import SIZE, Card, Grid, Section, Text, chart
from benchmarks.pages.render import render
from benchmarks.perf.tables import TABLES, perf_table
from benchmarks.stats import difference, newest, score
from benchmarks.suite import SUITES, Suite, load_suite
from benchmarks.tables import CURVE, NOT_RUN, columns_of, words, written

ERROR = (
    '± is the standard error of the mean over splits, corrected for splits that share '
    'most of their training ratings (Nadeau and Bengio, 2003).'
)
GLANCE = (
    'AGNN and the kernel model rate users and films without a single rating; TaNP '
    'ranks for users of whom a few interactions are known. Beside each: the baseline '
    'that is best in the mean.'
)
NOTE = (
    'Settings and epochs are selected on validation parts only; each test part is '
    'scored once. “+”: files of the code differed from the commit.'
)


def sections(folder: Path) -> list[Section]:
    """The page, from top to bottom."""
    rows, perf = newest(records.read_runs(folder)), records.read_perf(folder)
    names = sorted(path.stem for path in SUITES.glob('*.toml'))
    suites = [load_suite(SUITES / f'{name}.toml') for name in names]
    ran = [suite for suite in suites if (rows['suite'] == suite.name).any()]
    kinds = {'rating': [], 'few-shot': [], 'ablation': []}
    for suite in ran:
        is_few_shot = suite.scenarios == ['few_shot']
        kind = 'few-shot' if is_few_shot else 'rating'
        kinds['ablation' if suite.is_ablation else kind].append(suite)
    shown = [*kinds['rating'][-1:], *kinds['few-shot']]
    found = [card for suite in shown for card in cards(rows, suite)]
    parts = {
        kind: [part for suite in kinds[kind] for part in suite_parts(rows, suite)]
        for kind in kinds
    }
    return [
        Section('glance', 'At a glance', [Text(GLANCE), *found, Text(ERROR, 'note')]),
        Section('rating', 'Not a single rating', parts['rating']),
        Section('few-shot', 'A few interactions', parts['few-shot']),
        Section('ablation', 'What each part is worth', parts['ablation']),
        Section('costs', 'What it costs', list(cost_parts(perf))),
        Section('not-run', 'What was not run', [not_run(rows, suites)]),
        Section('origin', 'Where the figures come from', [origin(rows, folder)]),
    ]


def cards(rows: pd.DataFrame, suite: Suite) -> Iterator[Card]:
    """Ours and the best baseline, column by column."""
    metric = CURVE if suite.scenarios == ['few_shot'] else 'rmse'
    for name, part in columns_of(rows, suite).items():
        place = words(suite.data[0]) if metric == CURVE else name
        title = f'{place[0].upper()}{place[1:]}, {words(metric)}'
        baseline = tables.best_baseline(part, suite, metric)
        if baseline is None:
            yield Card(title, NOT_RUN, '')
            continue
        gap = difference(part, suite.own, baseline, metric)
        won = gap.count - gap.negative if metric == CURVE else gap.negative
        text = (
            f'{baseline}: {written(score(part, baseline, metric))}. Difference '
            f'{written(gap, "+")}; better on {won} of {gap.count} splits'
        )
        yield Card(title, written(score(part, suite.own, metric)), text)


def suite_parts(rows: pd.DataFrame, suite: Suite) -> Iterator[Any]:
    """Tables of a suite, and charts of differences or of scores by support."""
    yield Text(suite.title, 'heading')
    own = [x for x in suite.labels if tables.base_of(x, suite) != suite.own]
    own = [suite.own, *own, f'RMSE, {suite.own} − best baseline']
    for caption, table in tables.tables_of(rows, suite):
        is_paired = 'best baseline' in table.header
        yield Grid(*table, caption, own, words=(2,) if is_paired else ())
    if suite.is_ablation:
        return
    columns = columns_of(rows, suite)
    if suite.scenarios == ['few_shot']:
        yield Text(tables.sensitivity_line(rows, suite))
        figure = plots.support_curve(columns['few shot'], suite)
        yield chart(figure, suite.name, 'nDCG@10 by the size of the support')
        return
    for number, (name, part) in enumerate(columns.items()):
        figure = plots.lead_dots(part, suite)
        if figure is not None:
            caption = f'How far others are behind {suite.own}, {name}'
            yield chart(figure, f'{suite.name}-{number}', caption, None)


def cost_parts(perf: pd.DataFrame) -> Iterator[Any]:
    """Tables of costs, and the layer as charts."""
    shown = set(perf['benchmark'])
    for name, (caption, _) in TABLES.items():
        if name in shown:
            yield Grid(*perf_table(perf, name), caption, ('GatedConv',))
    for vary, (_, label) in plots.PANELS.items() if 'layer' in shown else ():
        figure, axes = plots.new_figure(SIZE)
        plots.layer_panel(axes, perf, vary)
        axes.set_ylabel('forward + backward, CPU seconds')
        axes.legend(frameon=False, fontsize=8)
        yield chart(figure, f'layer-{vary}', f'The layer: {label}')


def not_run(rows: pd.DataFrame, suites: Sequence[Suite]) -> Grid:
    """What suites name and rows lack, so that nobody takes a gap for a result."""
    found = []
    for suite in suites:
        for column, part in columns_of(rows, suite).items():
            lacking = [x for x in suite.labels if x not in set(part['estimator'])]
            what = ', '.join(lacking) if len(part) else 'all'
            found += [(f'{suite.title}, {column}', what)] if lacking else []
    found.append(('CUDA', 'every run above is one of a CPU'))
    return Grid(('suite', 'not run'), found, words=(1,))


def origin(rows: pd.DataFrame, folder: Path) -> Grid:
    """Where and at which commits figures were measured."""
    found = []
    for name, part in rows.groupby('suite', sort=False):
        peak, minutes = part['peak_memory_mb'].max(), part['seconds'].sum() / 60
        cells = [name, f'{len(part):,}', f'{minutes:,.0f}', f'{peak:,.0f}']
        cells.append(', '.join(sorted(set(part['commit']))))
        found.append([*cells, records.hardware_line(part['environment'], folder)])
    header = ('suite', 'rows', 'minutes', 'peak, MB', 'commits', 'measured on')
    return Grid(header, found, NOTE, words=(4, 5))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.report', description=__doc__.splitlines()[0]
    )
    parser.add_argument('--results', type=Path, default=records.RESULTS)
    parser.add_argument('--out', type=Path, default=Path('runs/report.html'))
    args = parser.parse_args(argv)
    lead = (
        'Cold-start recommendation on PyTorch Geometric, measured beside tuned '
        'baselines, on the same splits in the same runs.'
    )
    other = 'examples.html', 'Worked examples'
    try:
        page = render('Results', lead, sections(args.results), other)
        records.write_text(args.out, page)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
