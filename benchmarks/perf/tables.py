"""Tables of costs from the rows of ``perf.csv``."""

from __future__ import annotations

import numpy as np
import pandas as pd

# By table: its benchmark, and by column how a case is written.
LAYER = {
    'layer': '{layer}',
    'width': '{width:.0f}',
    'forward, s': '{forward_s:.2f}',
    'with backward, s': '{forward_backward_s:.2f}',
    'ratio to GATv2Conv': '{ratio:.2f}',
    'peak memory, MB': '{peak_memory_mb:,.0f}',
}
TABLES = {
    'layer': ('layer', LAYER),
    'serving-tanp': (
        'serving-tanp',
        {
            'users at once': '{users:,.0f}',
            'CPU seconds': '{cpu_seconds:.4f}',
            'ms a user': '{per_user_ms:.1f}',
            'quickest, seconds': '{quickest_cpu_seconds:.4f}',
        },
    ),
    'serving-agnn': (
        'serving-agnn',
        {
            'users and items': '{table}',
            'users': '{users:,.0f}',
            'items': '{items:,.0f}',
            'CPU seconds': '{cpu_seconds:.1f}',
            'peak memory, MB': '{peak_memory_mb:,.0f}',
        },
    ),
    'step': (
        'step',
        {'ms a step': '{model}', 'batch': '{batch:,.0f}'}
        | {
            part: f'{{{part}_ms:.2f}}'
            for part in ('loader', 'forward', 'backward', 'optimizer', 'engine')
        }
        | {'all': '{step_ms:.2f}', 'floor': '{floor_ms:.2f}'}
        | {'operators': '{operators:,.0f}', 'epoch, s': '{epoch_s:.2f}'},
    ),
    'graph': (
        'graph',
        {
            'graph': '{table}',
            'nodes': '{nodes:,.0f}',
            'CPU seconds': '{cpu_seconds:.1f}',
            'peak memory, GB': '{peak_memory_gb:.2f}',
            'recall@10': '{recall:.3f}',
        },
    ),
    'epoch': (
        'epoch',
        {
            'epoch of AGNN': '{users:,.0f} users, {items:,.0f} items',
            'ratings': '{ratings:,.0f}',
            'batch': '{batch_size:,.0f}',
            'sparse gradients': '{sparse}',
            'ratings a CPU second': '{ratings_per_cpu_second:,.0f}',
            'peak memory, GB': '{peak_memory_gb:.2f}',
        },
    ),
}


def cases(perf: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """The cases of a benchmark: parameters, measures and what follows, as columns."""
    rows = perf[perf['benchmark'] == benchmark]
    if rows.empty:
        return pd.DataFrame()
    wide = rows.pivot_table('value', 'case', 'measure', sort=False)
    pairs = [[p.split('=', 1) for p in case.split('; ')] for case in wide.index]
    made = pd.concat(
        [pd.DataFrame(map(dict, pairs)), wide.reset_index(drop=True)], axis=1
    )
    for name in made:
        number = pd.to_numeric(made[name], errors='coerce')
        made[name] = number if number.notna().all() else made[name]
    if 'peak_memory_mb' in made:
        made['peak_memory_gb'] = made['peak_memory_mb'] / 1024
    if benchmark == 'serving-tanp':
        made['per_user_ms'] = 1e3 * made['cpu_seconds'] / made['users']
    if benchmark == 'graph':
        made = made.sort_values(['table', 'nodes'], ignore_index=True)
    return made


def perf_table(perf: pd.DataFrame, name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of :data:`TABLES`."""
    benchmark, columns = TABLES[name]
    found = cases(perf, benchmark)
    if name == 'layer' and len(found):
        found = found[found['peak_memory_mb'].notna()]
        base = found[found['layer'] == 'GATv2Conv'].set_index('width')
        base = found['width'].map(base['forward_backward_s'])
        found = found.assign(ratio=found['forward_backward_s'] / base)
    records = found.to_dict('records')
    return list(columns), [[f.format(**r) for f in columns.values()] for r in records]


def exponent(part: pd.DataFrame, what: str) -> float | None:
    """The slope on logarithmic axes of what is measured, from 100,000 nodes on."""
    large = part[part['nodes'] >= 100_000]
    if len(large) < 2:
        return None
    return float(np.polyfit(np.log(large['nodes']), np.log(large[what]), 1)[0])
