"""Fills the tables of pages from committed results.

    python -m benchmarks.readme README.md benchmarks/README.md

Without a page, all tables are printed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import records, tables
from benchmarks.perf.tables import TABLES, perf_table
from benchmarks.stats import newest
from benchmarks.suite import SUITES, Suite, load_suite
from benchmarks.tables import CURVE, Table, words

Block = Callable[[], str]


def readme_blocks(folder: Path = records.RESULTS) -> dict[str, Block]:
    """What the pages of the repository show of the committed results, by name."""
    rows, perf = records.read_runs(folder), records.read_perf(folder)
    suites = {path.stem: load_suite(path) for path in SUITES.glob('*.toml')}

    def measured(name: str, *parts: str) -> str:
        own = newest(rows[rows['suite'] == name])
        line = records.hardware_line(own['environment'], folder)
        return '\n\n'.join([*parts, line])

    def rating(make: Callable[..., Table], name: str, *options: Any) -> str:
        return measured(name, make(rows, suites[name], *options).markdown())

    def ablation(name: str) -> str:
        found = tables.ablation_tables(rows, suites[name])
        return measured(name, *(table.markdown() for _, table in found))

    def few_shot(metrics: Sequence[str], is_short: bool) -> str:
        names = ('few-shot-lastfm', 'few-shot-ml100k')
        made = [few_shot_parts(rows, suites[name], metrics) for name in names]
        if is_short:
            return '\n\n'.join(part for parts in made for part in parts[:2])
        pairs = zip(names, made, strict=True)
        return '\n\n'.join(measured(name, *parts) for name, parts in pairs)

    score, short = tables.score_table, ('rmse',)
    return {
        'rating results': partial(rating, score, 'rating'),
        'rating-short results': partial(rating, score, 'rating', short),
        'rating-lead results': partial(rating, tables.paired_table, 'rating'),
        'rating-fresh results': partial(rating, score, 'rating-fresh'),
        'rating-fresh-short results': partial(rating, score, 'rating-fresh', short),
        'rating-fresh-lead results': partial(
            rating, tables.paired_table, 'rating-fresh'
        ),
        'ablation results': partial(ablation, 'ablation'),
        'few-shot results': partial(few_shot, tables.FEW_SHOT, False),
        'few-shot-short results': partial(
            few_shot, ('published_precision@5', CURVE), True
        ),
        'few-shot-ablation results': partial(ablation, 'few-shot-ablation'),
        **{f'{name} results': partial(_costs, perf, name) for name in TABLES},
    }


def few_shot_parts(
    rows: pd.DataFrame, suite: Suite, metrics: Sequence[str]
) -> list[str]:
    """Title, scores, scores by support size and sensitivity to the support."""
    (part,) = tables.columns_of(rows, suite).values()
    count = tables.counts(part, suite.own)
    return [
        f'**{words(suite.data[0])}** (splits × model seeds: {count})',
        tables.few_shot_table(rows, suite, metrics).markdown(),
        tables.size_table(rows, suite).markdown(),
        tables.sensitivity_line(rows, suite),
    ]


def _costs(perf: pd.DataFrame, name: str) -> str:
    return Table(*perf_table(perf, name)).markdown()


def fill(text: str, blocks: dict[str, Block]) -> str:
    """Replaces what stands between ``<!-- NAME results -->`` and its end.

    Raises:
        ValueError: If a name is not of the blocks, is there twice, or lacks its end
            ``<!-- /NAME results -->``.
    """
    for name in re.findall(r'<!-- ([\w -]+ results) -->', text):
        start, end = f'<!-- {name} -->', f'<!-- /{name} -->'
        if name not in blocks or text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(
                f"'{start}' must be there once, have one end '{end}', and name one of "
                f'{", ".join(blocks)}'
            )
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
