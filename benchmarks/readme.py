"""Fills the tables of pages from committed results.

    python -m benchmarks.readme README.md benchmarks/README.md

Without a page, all tables are printed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from benchmarks import records
from benchmarks.perf.tables import PERF_TABLES
from benchmarks.stats import newest
from benchmarks.suite import SUITES, load_suite
from benchmarks.tables import (
    CURVE,
    Table,
    ablation_bases,
    ablation_table,
    columns_of,
    counts,
    few_shot_table,
    lead_table,
    paired_table,
    score_table,
    sensitivity_line,
    size_table,
    words,
)


def readme_blocks(folder: Path = records.RESULTS) -> dict[str, Callable[[], str]]:
    """What the pages of the repository show of the committed results, by name."""
    rows = records.read_runs(folder)
    perf = records.read_perf(folder)
    suites = {path.stem: load_suite(path) for path in SUITES.glob('*.toml')}

    def block(
        make: Callable[..., Table], name: str, *args: object
    ) -> Callable[[], str]:
        def text() -> str:
            own = newest(rows[rows['suite'] == name])
            line = records.hardware_line(own['environment'], folder)
            return f'{make(rows, suites[name], *args).markdown()}\n\n{line}'

        return text

    def ablation(name: str, metrics: Sequence[str]) -> str:
        suite = suites[name]
        tables = [
            ablation_table(rows, suite, base, metrics).markdown()
            for base in ablation_bases(rows, suite)
        ]
        environments = rows[rows['suite'] == name]['environment']
        return '\n\n'.join([*tables, records.hardware_line(environments, folder)])

    def few_shot(short: bool) -> str:
        parts = []
        for name in ('few-shot-lastfm', 'few-shot-ml100k'):
            suite = suites[name]
            (part,) = columns_of(rows, suite).values()
            sizes = counts(part, suite.own)
            parts.append(f'**{words(suite.data[0])}** (splits × model seeds: {sizes})')
            if short:
                metrics = ('published_precision@5', CURVE)
                parts.append(few_shot_table(rows, suite, metrics).markdown())
                continue
            parts.append(few_shot_table(rows, suite).markdown())
            parts.append(size_table(rows, suite).markdown())
            parts += [sensitivity_line(rows, suite)]
            parts.append(records.hardware_line(part['environment'], folder))
        return '\n\n'.join(parts)

    def costs(make: Callable[[pd.DataFrame], Sequence[Table]]) -> Callable[[], str]:
        def text() -> str:
            return '\n\n'.join(Table(*table).markdown() for table in make(perf))

        return text

    return {
        'rating results': block(score_table, 'rating'),
        'rating-short results': block(score_table, 'rating', ('rmse',)),
        'rating-lead results': block(lead_table, 'rating'),
        'rating-fresh results': block(score_table, 'rating-fresh'),
        'rating-fresh-short results': block(score_table, 'rating-fresh', ('rmse',)),
        'rating-fresh-lead results': block(paired_table, 'rating-fresh'),
        'ablation results': lambda: ablation('ablation', ('rmse',)),
        'few-shot results': lambda: few_shot(short=False),
        'few-shot-short results': lambda: few_shot(short=True),
        'few-shot-ablation results': lambda: ablation(
            'few-shot-ablation', ('log_loss', CURVE)
        ),
        **{f'{name} results': costs(make) for name, make in PERF_TABLES.items()},
    }


def fill(text: str, blocks: dict[str, Callable[[], str]]) -> str:
    """Replaces what stands between ``<!-- NAME results -->`` and its end.

    Raises:
        ValueError: If a name is not of the blocks, is there twice, or lacks its end
            ``<!-- /NAME results -->``.
    """
    for name in re.findall(r'<!-- ([\w -]+ results) -->', text):
        start, end = f'<!-- {name} -->', f'<!-- /{name} -->'
        if name not in blocks:
            raise ValueError(
                f"'{start}' must name one of {', '.join(blocks)} (got {name!r})"
            )
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"'{start}' must be there once, and have one end '{end}'")
        before, rest = text.split(start)
        text = f'{before}{start}\n{blocks[name]()}\n{end}{rest.split(end)[1]}'
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.readme', description='Tables of committed results.'
    )
    parser.add_argument('pages', type=Path, nargs='*', metavar='PAGE')
    parser.add_argument('--results', type=Path, default=records.RESULTS)
    args = parser.parse_args(argv)
    try:
        blocks = readme_blocks(args.results)
        for page in args.pages:
            text = fill(page.read_text(encoding='utf-8'), blocks)
            records.write_text(page, text)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if not args.pages:
        print('\n\n'.join(f'{name}\n\n{text()}' for name, text in blocks.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
