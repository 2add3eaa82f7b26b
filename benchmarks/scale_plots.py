"""Table and figure of what sizes cost, from their JSON and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import markdown

# Part and table: what it is called, and its colour.
SERIES = {
    ('graph', 'films'): ('films by attributes', '#1f6f8b'),
    ('graph', 'people'): ('people by attributes', '#c98f4a'),
    ('preference', 'films'): ('films by attributes and ratings', '#7a9e62'),
}


def of_series(content: dict[str, Any], series: tuple[str, str]) -> list[dict[str, Any]]:
    """The points of one series, by size."""
    chosen = [p for p in content['points'] if (p['part'], p.get('table')) == series]
    return sorted(chosen, key=lambda point: point['nodes'])


def exponent(points: Sequence[dict[str, Any]], what: str) -> float | None:
    """The slope of a straight line through points on logarithmic axes."""
    if len(points) < 2:
        return None
    x = [math.log(point['nodes']) for point in points]
    y = [math.log(point[what]) for point in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def scale_table(content: dict[str, Any]) -> str:
    """What graphs cost and, if any were measured, what epochs do."""
    parts = [graph_table(content)]
    if any(point['part'] == 'epoch' for point in content['points']):
        parts.append(epoch_table(content))
    return '\n\n'.join(parts)


def epoch_table(content: dict[str, Any]) -> str:
    """Speed and memory of each epoch."""
    rows = [
        (
            f'{p["users"]:,} users, {p["items"]:,} items',
            f'{p["ratings"]:,}',
            f'{p["batch_size"]:,}',
            'sparse' if p['sparse'] else 'dense',
            f'{p["ratings_per_second"]:,.0f}',
            f'{p["peak_memory_mb"] / 1024:.2f}',
        )
        for p in content['points']
        if p['part'] == 'epoch'
    ]
    header = (
        'epoch of AGNN',
        'ratings',
        'batch',
        'gradients',
        'ratings a CPU second',
        'peak memory, GB',
    )
    return markdown(header, rows)


def graph_table(content: dict[str, Any]) -> str:
    """Seconds, memory and recall of each graph."""
    rows = []
    for series, (label, _) in SERIES.items():
        points = of_series(content, series)
        large = [point for point in points if point['nodes'] >= 100_000]
        slope = exponent(large, 'seconds')
        for point in points:
            last = point is points[-1]
            rows.append(
                (
                    label,
                    f'{point["nodes"]:,}',
                    f'{point["seconds"]:.1f}',
                    f'{point["peak_memory_mb"] / 1024:.2f}',
                    f'{point["recall"]:.3f}',
                    '' if slope is None or not last else f'{slope:.2f}',
                )
            )
    header = (
        'graph',
        'nodes',
        'CPU seconds',
        'peak memory, GB',
        'recall@10',
        'exponent of time, from 100,000 on',
    )
    return markdown(header, rows)


def plot_scale(content: dict[str, Any], path: Path) -> Path:
    """Time and memory over the number of nodes, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout='constrained', dpi=150)
    panels = figure.subplots(1, 2)
    for axes, what, label in zip(
        panels,
        ('seconds', 'peak_memory_mb'),
        ('CPU seconds', 'peak memory, MB'),
        strict=True,
    ):
        for series, (name, color) in SERIES.items():
            points = of_series(content, series)
            if not points:
                continue
            # Below, a comparison of all pairs and what every process loads prevail.
            slope = exponent([p for p in points if p['nodes'] >= 100_000], what)
            fitted = '' if slope is None else f' (exponent {slope:.2f})'
            axes.plot(
                [point['nodes'] for point in points],
                [point[what] for point in points],
                'o-',
                color=color,
                label=f'{name}{fitted}',
                lw=1.6,
                ms=4,
            )
        axes.set(
            xscale='log',
            yscale='log',
            xlabel='nodes (exponents: from 100,000 on)',
            ylabel=label,
        )
        axes.grid(True, which='major', color='#e6e6e6', lw=0.6)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={'Software': None})
    return path
