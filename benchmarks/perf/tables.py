"""Tables of costs from the rows of ``perf.csv``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

Rows = tuple[Sequence[str], list[tuple[str, ...]]]
PARTS = ('loader', 'forward', 'backward', 'optimizer', 'engine')


def cases(perf: pd.DataFrame, benchmark: str) -> pd.DataFrame:
    """The cases of a benchmark: their parameters and measures as columns."""
    rows = perf[perf['benchmark'] == benchmark]
    if not len(rows):
        return pd.DataFrame()
    wide = rows.pivot_table('value', 'case', 'measure', sort=False)
    parameters = [
        dict(pair.split('=', 1) for pair in case.split('; ')) for case in wide.index
    ]
    made = pd.concat([pd.DataFrame(parameters), wide.reset_index(drop=True)], axis=1)
    for name in made:
        try:
            made[name] = pd.to_numeric(made[name])
        except ValueError:  # words
            continue
    return made


def layer(perf: pd.DataFrame) -> list[Rows]:
    """Cost at 100,000 nodes with 10 neighbors, and ratios to GATv2Conv."""
    found, rows = cases(perf, 'layer'), []
    shown = (found['vary'] == 'order') & (found['sorted'] == 'True')
    found = found[shown & (found['torch_scatter'] == 'False')]
    for width, part in found.groupby('width'):
        own = part.set_index('layer')['forward_backward_s']
        rows += [
            (
                case['layer'],
                str(width),
                f'{case["forward_s"]:.2f}',
                f'{case["forward_backward_s"]:.2f}',
                f'{case["forward_backward_s"] / own["GATv2Conv"]:.2f}',
                f'{case["peak_memory_mb"]:,.0f}',
            )
            for _, case in part.iterrows()
        ]
    header = ('layer', 'width', 'forward, s', 'with backward, s')
    return [((*header, 'ratio to GATv2Conv', 'peak memory, MB'), rows)]


def serving_tanp(perf: pd.DataFrame) -> list[Rows]:
    """Time of adapting to users and ranking the catalogue, by their number."""
    rows = [
        (
            f'{case["users"]:,.0f}',
            f'{case["cpu_seconds"]:.4f}',
            f'{1e3 * case["cpu_seconds"] / case["users"]:.1f}',
            f'{case["quickest_cpu_seconds"]:.4f}',
        )
        for _, case in cases(perf, 'serving-tanp').iterrows()
    ]
    header = ('users at once', 'CPU seconds', 'ms a user', 'quickest, seconds')
    return [(header, rows)]


def serving_agnn(perf: pd.DataFrame) -> list[Rows]:
    """Time and memory of recommending ten items to each user."""
    rows = [
        (
            case['table'],
            f'{case["users"]:,}',
            f'{case["items"]:,}',
            f'{case["cpu_seconds"]:.1f}',
            f'{case["peak_memory_mb"]:,.0f}',
        )
        for _, case in cases(perf, 'serving-agnn').iterrows()
    ]
    header = ('users and items', 'users', 'items', 'CPU seconds', 'peak memory, MB')
    return [(header, rows)]


def step(perf: pd.DataFrame) -> list[Rows]:
    """CPU milliseconds of a training step, by part."""
    rows = [
        (
            case['model'],
            f'{case["batch"]:,}',
            *(f'{case[f"{part}_ms"]:.2f}' for part in PARTS),
            f'{case["step_ms"]:.2f}',
            f'{case["floor_ms"]:.2f}',
            f'{case["operators"]:,.0f}',
            f'{case["epoch_s"]:.2f}',
        )
        for _, case in cases(perf, 'step').iterrows()
    ]
    header = ('ms a step', 'batch', *PARTS, 'all', 'floor', 'operators', 'epoch, s')
    return [(header, rows)]


def graph_series(perf: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Cases of attribute graphs by table, ascending in size."""
    found = cases(perf, 'graph').sort_values('nodes', kind='stable')
    return {str(name): part for name, part in found.groupby('table', sort=True)}


def exponent(part: pd.DataFrame, what: str) -> float | None:
    """The slope on logarithmic axes of what is measured, from 100,000 nodes on."""
    large = part[part['nodes'] >= 100_000]
    if len(large) < 2:
        return None
    x, y = (large[name].map(math.log) for name in ('nodes', what))
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def scale(perf: pd.DataFrame) -> list[Rows]:
    """What graphs cost as they grow, and what epochs do."""
    graphs = []
    for name, part in graph_series(perf).items():
        slope = exponent(part, 'cpu_seconds')
        for number, (_, case) in enumerate(part.iterrows(), 1):
            last = slope is not None and number == len(part)
            graphs.append(
                (
                    name,
                    f'{case["nodes"]:,}',
                    f'{case["cpu_seconds"]:.1f}',
                    f'{case["peak_memory_mb"] / 1024:.2f}',
                    f'{case["recall"]:.3f}',
                    f'{slope:.2f}' if last else '',
                )
            )
    epochs = [
        (
            f'{case["users"]:,} users, {case["items"]:,} items',
            f'{case["ratings"]:,}',
            f'{case["batch_size"]:,}',
            'sparse' if case['sparse'] == 'True' else 'dense',
            f'{case["ratings_per_cpu_second"]:,.0f}',
            f'{case["peak_memory_mb"] / 1024:.2f}',
        )
        for _, case in cases(perf, 'epoch').iterrows()
    ]
    header = ('graph', 'nodes', 'CPU seconds', 'peak memory, GB', 'recall@10')
    second = ('epoch of AGNN', 'ratings', 'batch', 'gradients', 'ratings a CPU second')
    return [
        ((*header, 'exponent of time, from 100,000 on'), graphs),
        ((*second, 'peak memory, GB'), epochs),
    ]


PERF_TABLES: dict[str, Callable[[pd.DataFrame], list[Rows]]] = {
    'layer': layer,
    'serving-tanp': serving_tanp,
    'serving-agnn': serving_agnn,
    'step': step,
    'scale': scale,
}
