"""A page of all results: tables, charts, ablations, costs, and what was not run.

    python -m benchmarks.report                   # one HTML file that needs no network
    python -m benchmarks.report README.md benchmarks/README.md   # and fill their tables

Both are made from the rows of benchmarks/results and nothing else.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import plots, records, tables
from benchmarks.pages import SIZE, Card, Grid, Section, Text, chart, render
from benchmarks.stats import difference, newest, score
from benchmarks.suite import SUITES, Suite, load_suite
from benchmarks.tables import COSTS, CURVE, columns_of, words, written

LEAD = (
    'Cold-start recommendation on PyTorch Geometric, measured beside tuned baselines, '
    'on the same splits in the same runs.'
)
GLANCE = (
    'AGNN and the kernel model rate users and films without a single rating; TaNP '
    'ranks for users of whom a few interactions are known. Beside each: the baseline '
    'that is best in the mean.'
)
ERROR = (
    '± is the standard error of the mean over splits, corrected for splits that share '
    'most of their training ratings (Nadeau and Bengio, 2003).'
)
NOTE = (
    'Settings and epochs are selected on validation parts only; each test part is '
    'scored once. “+”: files of the code differed from the commit.'
)


def sections(rows: pd.DataFrame, perf: pd.DataFrame, folder: Path) -> list[Section]:
    """The page, from top to bottom."""
    suites = sorted(map(load_suite, SUITES.glob('*.toml')), key=lambda x: x.name)
    kinds: dict[str, list[Suite]] = {'rating': [], 'few-shot': [], 'ablation': []}
    for suite in suites:
        kind = 'few-shot' if suite.is_few_shot else 'rating'
        if (rows['suite'] == suite.name).any():
            kinds['ablation' if suite.is_ablation else kind].append(suite)
    shown = [x for x in kinds['rating'] if x.name == 'rating'] + kinds['few-shot']
    found = [card for suite in shown for card in cards(rows, suite)]
    found = [*time_charts(rows), Text(GLANCE), *found, Text(ERROR, 'note')]
    parts = {
        kind: [part for suite in of_kind for part in suite_parts(rows, suite)]
        for kind, of_kind in kinds.items()
    }
    return [
        Section('glance', 'At a glance', found),
        Section('rating', 'Not a single rating', parts['rating']),
        Section('few-shot', 'A few interactions', parts['few-shot']),
        Section('ablation', 'What each part is worth', parts['ablation']),
        Section('costs', 'What it costs', [*cost_parts(perf)]),
        Section('not-run', 'What was not run', [not_run(rows, suites)]),
        Section('origin', 'Where the figures come from', [origin(rows, folder)]),
    ]


def time_charts(rows: pd.DataFrame) -> Iterator[Any]:
    """Errors over the time of a fit."""
    suite = load_suite(SUITES / 'rating.toml')
    columns = columns_of(rows, suite)
    for name in map(words, plots.TIMED):
        figure, axes = plots.new_figure(SIZE)
        plots.time_panel(axes, columns[name], suite)
        caption = f'Test RMSE over the time of a fit, {words(suite.data[0])}, {name}'
        yield chart(figure, f'time-{name}'.replace(' ', '-'), caption)


def cards(rows: pd.DataFrame, suite: Suite) -> Iterator[Card]:
    """Ours and the best baseline, column by column."""
    metric = CURVE if suite.is_few_shot else suite.metric
    for name, part in columns_of(rows, suite).items():
        place = words(suite.data[0]) if suite.is_few_shot else name
        title = f'{place[0].upper()}{place[1:]}, {words(metric)}'
        baseline = tables.best_baseline(part, suite, metric)
        gap, text = difference(part, suite.own, baseline, metric), ''
        if gap is not None:
            won = tables.splits_won(gap, metric)
            text = (
                f'{baseline}: {written(score(part, baseline, metric))}. Difference '
                f'{written(gap, "+")}; better on {won} of {gap.count} splits'
            )
        yield Card(title, written(score(part, suite.own, metric)), text)


def suite_parts(rows: pd.DataFrame, suite: Suite) -> Iterator[Any]:
    """Tables of a suite, and charts of differences or of scores by support."""
    yield Text(suite.title, 'heading')
    own = [x for x in suite.labels if tables.base_of(x, suite) != suite.own]
    metric = suite.metric
    own = [suite.own, *own, f'{words(metric)}, {suite.own} − best baseline']
    for caption, table in tables.tables_of(rows, suite):
        yield Grid(*table, caption, own)
    columns = {} if suite.is_ablation else columns_of(rows, suite)
    if suite.is_few_shot and columns:
        yield Text(tables.sensitivity_line(rows, suite))
        figure = plots.support_curve(columns.pop('few shot'), suite)
        yield chart(figure, suite.name, 'nDCG@10 by the size of the support')
    for number, (name, part) in enumerate(columns.items()):
        figure = None if suite.has_positives else plots.lead_dots(part, suite)
        if figure is not None:
            caption = f'How far others are behind {suite.own}, {name}'
            yield chart(figure, f'{suite.name}-{number}', caption, None)


def cost_parts(perf: pd.DataFrame) -> Iterator[Any]:
    """Tables of costs, and the layer as charts."""
    shown = set(perf['benchmark'])
    for name in filter(shown.__contains__, COSTS):
        yield Grid(*tables.cost_table(perf, name), COSTS[name], ('GatedConv',))
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


def readme_blocks(
    rows: pd.DataFrame, perf: pd.DataFrame, folder: Path
) -> dict[str, str]:
    """What Markdown pages show, by name: suites, a summary of two, and costs."""
    blocks = {}
    for suite in map(load_suite, SUITES.glob('*.toml')):
        own = rows[rows['suite'] == suite.name]
        if own.empty:
            continue
        found = [table.markdown() for _, table in tables.tables_of(rows, suite)]
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
    """Replaces what stands between ``<!-- NAME results -->`` and ``<!-- /NAME ...``."""
    begun = re.findall(r'<!-- ([\w -]+ results) -->', text)
    pattern = re.compile(r'<!-- ([\w -]+ results) -->\n.*?\n<!-- /\1 -->', re.DOTALL)
    ended = pattern.findall(text)
    if begun != ended or not {*ended} <= blocks.keys():
        raise ValueError(
            f"each '<!-- NAME results -->' must have an end, with NAME results one of "
            f'{", ".join(blocks)} (got {", ".join(begun)})'
        )
    page = '<!-- {0} -->\n{1}\n<!-- /{0} -->'
    return pattern.sub(lambda found: page.format(found[1], blocks[found[1]]), text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.report', description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add('pages', type=Path, nargs='*', metavar='PAGE', help='Markdown: fill its tables')
    add('--results', type=Path, default=records.RESULTS)
    add('--out', type=Path, default=Path('runs/report.html'))
    args = parser.parse_args(argv)
    folder, other = args.results, ('examples.html', 'Worked examples')
    try:
        rows, perf = newest(records.read_runs(folder)), records.read_perf(folder)
        page = render('Results', LEAD, sections(rows, perf, folder), other)
        records.write_text(args.out, page)
        print(args.out)
        if args.pages:
            blocks = readme_blocks(rows, perf, folder)
            for path in args.pages:
                records.write_text(path, fill(path.read_text('utf-8'), blocks))
            suite = load_suite(SUITES / 'few-shot-lastfm.toml')
            curve = plots.support_curve(rows[rows['suite'] == suite.name], suite)
            figures = {'layer': plots.layer_figure(perf), 'support-size': curve}
            figures['scale'] = plots.scale_figure(perf)
            suite = load_suite(SUITES / 'rating.toml')
            figures['time'] = plots.time_figure(columns_of(rows, suite), suite)
            for name, figure in figures.items():
                # No time stamp inside.
                figure.savefig(folder / f'{name}.png', metadata={'Software': None})
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
