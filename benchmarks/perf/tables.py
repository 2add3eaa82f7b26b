"""Tables of costs from the rows of ``perf.csv``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

# By benchmark: what it measures, and the cases that tables show.
TABLES = {
    'layer': (
        'Forward and backward pass at 100,000 nodes with ten neighbors each.',
        {'vary': 'order', 'sorted': 'True', 'torch_scatter': 'False'},
    ),
    'serving-tanp': ('Adapting to new users and ranking the catalogue.', {}),
    'serving-agnn': ('Recommending ten items to each user.', {}),
    'loader': ('Batches of rated pairs.', {}),
    'fit': ('A fit at the defaults, and its test RMSE.', {}),
    'step': ('A training step, by part.', {}),
    'graph': ('Attribute graphs of synthetic tables.', {}),
    'epoch': ('Epochs of AGNN on synthetic tables.', {}),
}


def cases(perf: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """The cases of a benchmark: their parameters and measures as columns."""
    rows = perf[perf['benchmark'] == benchmark]
    if rows.empty:
        return pd.DataFrame()
    wide = rows.pivot_table('value', 'case', 'measure', sort=False)
    pairs = [[p.split('=', 1) for p in case.split('; ')] for case in wide.index]
    parameters = pd.DataFrame(map(dict, pairs), index=wide.index)
    made = parameters.join(wide).reset_index(drop=True)
    for name in parameters:
        number = pd.to_numeric(made[name], errors='coerce')
        made[name] = number if number.notna().all() else made[name]
    return made


def perf_table(
    perf: pd.DataFrame, benchmark: str
) -> tuple[Sequence[str], list[list[str]]]:
    """Header and rows: what differs between cases, three significant digits."""
    found = cases(perf, benchmark)
    for name, value in TABLES[benchmark][1].items():
        if name in found:
            found = found[found[name] == value]
    found = found[[name for name in found if found[name].nunique(dropna=False) > 1]]
    header = [name.replace('_', ' ').replace(' mb', ', MB') for name in found]
    return header, [list(map(_cell, row)) for row in found.to_numpy().tolist()]


def exponent(part: pd.DataFrame, what: str) -> float | None:
    """The slope on logarithmic axes of what is measured, from 100,000 nodes on."""
    large = part[part['nodes'] >= 100_000]
    if len(large) < 2:
        return None
    return float(np.polyfit(np.log(large['nodes']), np.log(large[what]), 1)[0])


def _cell(value: object) -> str:
    if not isinstance(value, float | int):
        return str(value)
    if np.isnan(value):
        return ''
    return f'{value:,.0f}' if value >= 100 or value == int(value) else f'{value:.3g}'
