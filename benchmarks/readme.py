"""Tables that pages show, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks import records
from benchmarks.perf.tables import TABLES, perf_table
from benchmarks.stats import newest
from benchmarks.suite import SUITES, Suite, load_suite
from benchmarks.tables import Table, sensitivity_line, splits_line, tables_of, words

Block = Callable[[], str]


def readme_blocks(folder: Path = records.RESULTS) -> dict[str, Block]:
    """What pages can show of committed results, by name: SUITE, SUITE-short, costs."""
    rows, perf = newest(records.read_runs(folder)), records.read_perf(folder)
    blocks: dict[str, Block] = {}
    for path in sorted(SUITES.glob('*.toml')):
        suite = load_suite(path)
        own = rows[rows['suite'] == suite.name]
        if len(own):
            line = records.hardware_line(own['environment'], folder)
            for name, is_short in ((suite.name, False), (f'{suite.name}-short', True)):
                block = partial(_suite_block, rows, suite, is_short, line)
                blocks[f'{name} results'] = block
    return blocks | {
        f'{name} results': partial(_cost_block, perf, name)
        for name in TABLES
        if name in set(perf['benchmark'])
    }


def _suite_block(rows: pd.DataFrame, suite: Suite, is_short: bool, line: str) -> str:
    parts = [table.markdown() for _, table in tables_of(rows, suite, is_short)]
    if suite.is_few_shot and not suite.is_ablation:
        title = f'**{words(suite.data[0])}** ({splits_line(rows, suite)})'
        more = [] if is_short else [sensitivity_line(rows, suite)]
        parts = [title, *parts, *more]
    return '\n\n'.join([*parts, line])


def _cost_block(perf: pd.DataFrame, name: str) -> str:
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
