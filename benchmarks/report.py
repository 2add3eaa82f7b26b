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
from benchmarks.tables import CURVE, NOT_RUN, Table, columns_of, words, written

ERROR = (
    '± is the standard error of the mean over splits, corrected for splits that share '
    'most of their training ratings (Nadeau and Bengio, 2003).'
)
COSTS = {
    'layer': 'Forward and backward pass at 100,000 nodes with ten neighbors each.',
    'serving-tanp': 'AttentiveTaNP: 20 interactions of each new user of Last.FM are '
    'encoded and the catalogue is ranked.',
    'serving-agnn': 'AGNNRecommender: ten items for each user, from attributes.',
    'step': 'A training step, CPU milliseconds.',
    'graph': 'Attribute graphs of synthetic tables.',
    'epoch': 'Epochs of AGNN on synthetic tables.',
}
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
    suites = {name: load_suite(SUITES / f'{name}.toml') for name in names}
    ran = [suite for name, suite in suites.items() if (rows['suite'] == name).any()]
    ablations = [suite for suite in ran if suite.name.endswith('ablation')]
    few = [s for s in ran if s.scenarios == ['few_shot'] and s not in ablations]
    rating = [s for s in ran if s not in few and s not in ablations]
    parts = {
        'few-shot': [x for suite in few for x in few_shot_parts(rows, suite)],
        'ablations': [x for suite in ablations for x in ablation_parts(rows, suite)],
        'costs': list(cost_parts(perf)),
    }
    found = [card for s in [*rating[-1:], *few] for card in cards(rows, s)]
    return [
        Section('glance', 'At a glance', [Text(GLANCE), *found]),
        *(Section(s.name, s.title, list(rating_parts(rows, s))) for s in rating),
        Section('few-shot', 'A few interactions', parts['few-shot']),
        Section('ablations', 'What each part is worth', parts['ablations']),
        Section('costs', 'What it costs', parts['costs']),
        Section('not-run', 'What was not run', [not_run(rows, suites)]),
        Section(
            'origin',
            'Where the figures come from',
            [origin(rows, folder), Text(NOTE, 'note')],
        ),
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


def grid(table: Table, caption: str, *own: str) -> Grid:
    """A table of :mod:`benchmarks.tables` as a part of the page."""
    return Grid(table.header, table.rows, caption, own)


def rating_parts(rows: pd.DataFrame, suite: Suite) -> Iterator[Any]:
    """Scores, the paired test, and differences as dots."""
    own = suite.own, f'RMSE, {suite.own} − best baseline'
    caption = f'Test RMSE above, MAE below; lower is better. {ERROR}'
    yield grid(tables.score_table(rows, suite), caption, *own)
    caption = f'{suite.own} beside the baseline that is best in the mean.'
    table = tables.paired_table(rows, suite)
    yield Grid(table.header, table.rows, caption, words=(2,))
    for name, part in columns_of(rows, suite).items():
        figure = plots.lead_dots(part, suite)
        if figure is not None:
            key = f'{suite.name}-{name.replace(" ", "-").replace(",", "")}'
            caption = f'How far others are behind {suite.own}, {name}'
            yield chart(figure, key, caption, None)


def few_shot_parts(rows: pd.DataFrame, suite: Suite) -> Iterator[Any]:
    """Scores, scores by support size, sensitivity, and the curve."""
    note = "† by the definitions of TaNP's published code."
    yield Text(suite.title, 'heading')
    caption = f'Test scores. {ERROR} {note}'
    yield grid(tables.few_shot_table(rows, suite), caption, suite.own)
    caption = 'After fewer interactions of the same users: means over splits.'
    yield grid(tables.size_table(rows, suite), caption, suite.own)
    yield Text(tables.sensitivity_line(rows, suite))
    (part,) = columns_of(rows, suite).values()
    figure = plots.support_curve(part, suite)
    yield chart(figure, suite.name, 'nDCG@10 by the size of the support')


def ablation_parts(rows: pd.DataFrame, suite: Suite) -> Iterator[Any]:
    """A table for each base."""
    yield Text(suite.title, 'heading')
    for base, table in tables.ablation_tables(rows, suite):
        caption = f'Scores of “{base}”, and what each change adds to them. {ERROR}'
        yield grid(table, caption, base)


def cost_parts(perf: pd.DataFrame) -> Iterator[Any]:
    """Tables of costs, and the layer as charts."""
    shown = set(perf['benchmark'])
    for name, (benchmark, _) in TABLES.items():
        if benchmark in shown:
            yield grid(Table(*perf_table(perf, name)), COSTS[name], 'GatedConv')
    for vary, (_, label) in plots.PANELS.items() if 'layer' in shown else ():
        figure, axes = plots.new_figure(SIZE)
        plots.layer_panel(axes, perf, vary)
        axes.set_ylabel('forward + backward, CPU seconds')
        axes.legend(frameon=False, fontsize=8)
        yield chart(figure, f'layer-{vary}', f'The layer: {label}')


def not_run(rows: pd.DataFrame, suites: dict[str, Suite]) -> Grid:
    """What suites name and rows lack, so that nobody takes a gap for a result."""
    found = []
    for name, suite in suites.items():
        for column, part in columns_of(rows, suite).items():
            lacking = [x for x in suite.labels if x not in set(part['estimator'])]
            what = ', '.join(lacking) if len(part) else 'all'
            found += [(f'{name}, {column}', what)] if lacking else []
    found.append(('CUDA', 'every run above is one of a CPU'))
    return Grid(('suite', 'not run'), found, words=(1,))


def origin(rows: pd.DataFrame, folder: Path) -> Grid:
    """Where and at which commits figures were measured."""
    found = []
    for name, part in rows.groupby('suite', sort=False):
        peak = part['peak_memory_mb'].max()
        cells = (
            name,
            f'{len(part):,}',
            f'{part["seconds"].sum() / 60:,.0f}',
            '' if pd.isna(peak) else f'{peak:,.0f}',
            ', '.join(sorted(set(part['commit']))),
            records.hardware_line(part['environment'], folder),
        )
        found.append(cells)
    header = ('suite', 'rows', 'minutes', 'peak, MB', 'commits', 'measured on')
    return Grid(header, found, 'Minutes of all fits and predictions.', words=(4, 5))


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
