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
from benchmarks.perf.tables import PERF_TABLES, cases
from benchmarks.stats import difference, newest, score
from benchmarks.suite import SUITES, Suite, load_suite
from benchmarks.tables import CURVE, Table, columns_of, words, written

ERROR = (
    '± is the standard error of the mean over splits, corrected for splits that share '
    'most of their training ratings (Nadeau and Bengio, 2003).'
)
COSTS = {
    'layer': 'Forward and backward pass at 100,000 nodes with ten neighbors each; CPU '
    'seconds of one thread.',
    'serving-tanp': '20 interactions of each new user of Last.FM are encoded and the '
    'catalogue is ranked: the median of many calls and the quickest.',
    'serving-agnn': 'Ten items for each user, from tables of attributes.',
    'step': 'CPU milliseconds of a training step, by part.',
    'scale': 'Attribute graphs of synthetic tables, and epochs on them.',
}


def sections(folder: Path) -> list[Section]:
    """The page, from top to bottom."""
    rows, perf = newest(records.read_runs(folder)), records.read_perf(folder)
    names = sorted(path.stem for path in SUITES.glob('*.toml'))
    suites = {name: load_suite(SUITES / f'{name}.toml') for name in names}
    ran = [name for name in suites if (rows['suite'] == name).any()]
    rating = [n for n in ran if n.startswith(('rating', 'public'))]
    few = [n for n in ran if n.startswith('few-shot') and not n.endswith('ablation')]
    shown = [name for name in ('rating-fresh', 'rating', 'public') if name in ran]
    glance = [
        Text(
            'AGNN and the kernel model rate users and films without a single rating; '
            'TaNP ranks for users of whom a few interactions are known. Beside each: '
            'the baseline that is best in the mean.'
        ),
        *(card for n in shown[:1] for card in cards(rows, suites[n], 'rmse')),
        *(card for n in few for card in cards(rows, suites[n], CURVE)),
    ]
    return [
        Section('glance', 'At a glance', glance),
        *(rating_section(rows, suites[name]) for name in rating),
        Section(
            'few-shot',
            'A few interactions',
            [part for name in few for part in few_shot_parts(rows, suites[name])],
        ),
        Section(
            'ablations',
            'What each part is worth',
            [
                part
                for name in ran
                if name.endswith('ablation')
                for part in ablation_parts(rows, suites[name])
            ],
        ),
        Section('costs', 'What it costs', list(cost_parts(perf))),
        not_run_section(rows, suites),
        origin_section(rows, folder),
    ]


def cards(rows: pd.DataFrame, suite: Suite, metric: str) -> Iterator[Card]:
    """Ours and the best baseline, column by column."""
    for name, part in columns_of(rows, suite).items():
        place = words(suite.data[0]) if metric == CURVE else name.capitalize()
        title = f'{place}, {words(metric)}'
        baseline = plots.best_baseline(part, suite, metric)
        if baseline is None:
            yield Card(title, tables.NOT_RUN, '')
            continue
        gap = difference(part, suite.own, baseline, metric)
        won = gap.count - gap.negative if metric == CURVE else gap.negative
        yield Card(
            title,
            written(score(part, suite.own, metric)),
            f'{baseline}: {written(score(part, baseline, metric))}. Difference '
            f'{written(gap, "+")}; better on {won} of {gap.count} splits',
        )


def grid(table: Table, caption: str, own: Sequence[str]) -> Grid:
    """A table of :mod:`benchmarks.tables` as a part of the page."""
    return Grid(table.header, table.rows, caption, own)


def rating_section(rows: pd.DataFrame, suite: Suite) -> Section:
    """Tables of scores and of paired differences, and the latter as dots."""
    own = [suite.own, f'RMSE, {suite.own} − best baseline']
    parts: list[Any] = [
        grid(
            tables.score_table(rows, suite),
            f'Test RMSE above, MAE below; lower is better. {ERROR}',
            own,
        ),
        grid(
            tables.lead_table(rows, suite),
            f'RMSE of {suite.own} minus that of the others, paired by split, and on '
            'how many splits it is lower.',
            (),
        ),
    ]
    for name, part in columns_of(rows, suite).items():
        figure = plots.lead_dots(part, suite) if len(part) else None
        if figure is not None:
            key = f'{suite.name}-{name.replace(" ", "-").replace(",", "")}'
            caption = f'How far others are behind {suite.own}, {name}'
            parts.append(chart(figure, key, caption, None))
    return Section(suite.name, suite.title, parts)


def few_shot_parts(rows: pd.DataFrame, suite: Suite) -> Iterator[Any]:
    """Scores, scores by support size, sensitivity, and the curve."""
    (part,) = columns_of(rows, suite).values()
    own = (suite.own,)
    note = "P@5 † and MAP@5 † by the definitions of TaNP's published code."
    yield Text(suite.title, 'heading')
    yield grid(tables.few_shot_table(rows, suite), f'Test scores. {ERROR} {note}', own)
    caption = 'After fewer interactions of the same users: means over splits.'
    yield grid(tables.size_table(rows, suite), caption, own)
    yield Text(tables.sensitivity_line(rows, suite))
    figure = plots.support_curve(part, suite)
    yield chart(figure, suite.name, 'nDCG@10 by the size of the support')


def ablation_parts(rows: pd.DataFrame, suite: Suite) -> Iterator[Any]:
    """A table for each base, and bars."""
    yield Text(suite.title, 'heading')
    metrics = ('log_loss', CURVE) if suite.scenarios == ['few_shot'] else ('rmse',)
    for base in tables.ablation_bases(rows, suite):
        caption = f'Scores of “{base}”, and what each change adds to them. {ERROR}'
        table = tables.ablation_table(rows, suite, base, metrics)
        yield grid(table, caption, (base,))
    for name, part in columns_of(rows, suite).items():
        figure = plots.ablation_bars(part, suite) if metrics == ('rmse',) else None
        if figure is not None:
            key = f'{suite.name}-{name.replace(" ", "-")}'
            yield chart(figure, key, f'The same as bars, {name}', None)


def cost_parts(perf: pd.DataFrame) -> Iterator[Any]:
    """Tables of costs, and the layer and attribute graphs as charts."""
    for name, make in PERF_TABLES.items():
        if cases(perf, 'graph' if name == 'scale' else name).empty:
            continue
        for table in make(perf):
            yield grid(Table(*table), COSTS[name], ('GatedConv',))
    if not cases(perf, 'layer').empty:
        for vary, (_, label) in plots.PANELS.items():
            figure, axes = plots.new_figure(SIZE)
            plots.layer_panel(axes, perf, vary)
            axes.set_ylabel('forward + backward, CPU seconds')
            axes.legend(frameon=False, fontsize=8)
            yield chart(figure, f'layer-{vary}', f'The layer: {label}')


def not_run_section(rows: pd.DataFrame, suites: dict[str, Suite]) -> Section:
    """What suites name and rows lack, so that nobody takes a gap for a result."""
    found = []
    for name, suite in suites.items():
        for column, part in columns_of(rows, suite).items():
            ran = set(part['estimator'])
            lacking = [label for label in suite.labels if label not in ran]
            if lacking:
                what = 'all' if not ran else ', '.join(lacking)
                found.append((f'{name}, {column}', what))
    found.append(('CUDA', 'every run above is one of a CPU'))
    return Section(
        'not-run', 'What was not run', [Grid(('suite', 'not run'), found, words=(1,))]
    )


def origin_section(rows: pd.DataFrame, folder: Path) -> Section:
    """Where and at which commits figures were measured."""
    found = []
    for name, part in rows.groupby('suite', sort=False):
        minutes, peak = part['seconds'].sum() / 60, part['peak_memory_mb'].max()
        found.append(
            (
                name,
                f'{len(part):,}',
                f'{minutes:,.0f}',
                '' if pd.isna(peak) else f'{peak:,.0f}',
                ', '.join(sorted(set(part['commit']))),
                records.hardware_line(part['environment'], folder),
            )
        )
    header = ('suite', 'rows', 'minutes', 'peak, MB', 'commits', 'measured on')
    note = (
        'Settings and epochs are selected on validation parts only; each test part is '
        'scored once. “+”: files of the code differed from the commit.'
    )
    table = Grid(header, found, 'Minutes of all fits and predictions.', words=(4, 5))
    return Section('origin', 'Where the figures come from', [table, Text(note, 'note')])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.report', description=__doc__.splitlines()[0]
    )
    parser.add_argument('--results', type=Path, default=records.RESULTS)
    parser.add_argument('--out', type=Path, default=Path('runs/report.html'))
    args = parser.parse_args(argv)
    try:
        page = render(
            'Results',
            'Cold-start recommendation on PyTorch Geometric, measured beside tuned '
            'baselines, on the same splits in the same runs.',
            sections(args.results),
            ('examples.html', 'Worked examples'),
        )
        records.write_text(args.out, page)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
