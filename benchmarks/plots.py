"""Figures, drawn from reports and from nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ablation_tables import by_variant, differences, standard_error
from benchmarks.agnn_tables import NAMES
from benchmarks.variants import BASE, base_of

MODEL_COLOR = '#1f6f8b'
PEER_COLOR = '#b8b8b8'
LINE_COLOR = '#8a8a8a'


def plot_runs(reports: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Learning curves and a bar chart of the peers, as PNG files.

    Args:
        reports (list): Reports of one split, one a seed.
        folder (Path): Where to write.
    """
    # Figures are files here: no window system is needed, nor looked for.
    import matplotlib

    matplotlib.use('Agg')
    return [
        save(learning_curves(reports), folder / 'learning-curves.png'),
        save(_peers(reports), folder / 'peers.png'),
    ]


def learning_curves(reports: Sequence[dict[str, Any]]) -> Any:
    """RMSE by epoch, and the best peer on validation."""
    figure, axes = new_figure((6.4, 4))
    for number, report in enumerate(reports):
        history = report['history']
        epochs = [row['epoch'] + 1 for row in history]
        label = ('validation', 'training') if number == 0 else (None, None)
        curves = (
            ([row['val_rmse'] for row in history], '-', label[0]),
            ([row['train_mse'] ** 0.5 for row in history], ':', label[1]),
        )
        for values, style, name in curves:
            axes.plot(epochs, values, style, color=MODEL_COLOR, alpha=0.8, label=name)
        best = history[report['best_epoch']]
        axes.plot(
            best['epoch'] + 1,
            best['val_rmse'],
            'o',
            color=MODEL_COLOR,
            label='selected epoch' if number == 0 else None,
        )
    peers = _ran(reports[0])
    if peers:
        name = min(peers, key=lambda p: peers[p]['metrics']['val']['rmse'])
        peer = peers[name]['metrics']['val']['rmse']
        label = f'{NAMES[name]}, validation'
        axes.axhline(peer, color=LINE_COLOR, ls='--', lw=1, label=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel='epoch', ylabel='RMSE', title=title_of(reports))
    axes.legend(frameon=False, fontsize=8)
    return figure


def _peers(reports: Sequence[dict[str, Any]]) -> Any:
    peers = _ran(reports[0])
    figure, axes = new_figure((6.4, 2.2 + 0.3 * len(peers)))
    values = [[peer['metrics']['test']['rmse']] for peer in peers.values()]
    values.append([report['metrics']['test']['rmse'] for report in reports])
    labels = [NAMES[name] for name in (*peers, 'agnn')]
    means = [sum(v) / len(v) for v in values]
    colors = [*[PEER_COLOR] * len(peers), MODEL_COLOR]
    bars = axes.barh(labels, means, color=colors, height=0.6)
    axes.bar_label(bars, [f'{mean:.4f}' for mean in means], padding=12, fontsize=9)
    for row, points in enumerate(values):
        if len(points) > 1:
            axes.plot(points, [row] * len(points), '.', color='black', ms=5)
    span = max(means) - min(means) or 1
    # Differences are what matters; the axis says where it begins.
    axes.set_xlim(min(means) - 0.6 * span, max(means) + 0.25 * span)
    axes.invert_yaxis()
    axes.set(xlabel='test RMSE (lower is better; axis cut)', title=title_of(reports))
    return figure


def ablation_bars(reports: Sequence[dict[str, Any]]) -> Any | None:
    """A bar for each variant: how much worse (right) it is than the whole."""
    # Bars of the network alone would dwarf them.
    names = [n for n in by_variant(reports) if n != BASE == base_of(n)]
    names = [n for n in names if differences(reports, n)]
    if not names:
        return None
    figure, axes = new_figure((6.4, 1.2 + 0.3 * len(names)))
    gaps = [differences(reports, name) for name in names]
    means = [statistics.mean(values) for values in gaps]
    errors = [standard_error(values) or 0 for values in gaps]
    style = {'ecolor': LINE_COLOR, 'height': 0.6}
    axes.barh(names, means, xerr=errors, color=MODEL_COLOR, **style)
    axes.axvline(0, color=LINE_COLOR, lw=1)
    axes.invert_yaxis()
    axes.locator_params(axis='x', nbins=5)
    axes.set(xlabel='test RMSE above that of the whole')
    return figure


def _ran(report: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in report['peers'].items() if 'metrics' in v}


def new_figure(size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure of a size in inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout='constrained', dpi=150)
    axes = figure.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def save(figure: Any, path: Path) -> Path:
    """Writes a PNG file; the same numbers give the same file."""
    # So no time stamp inside.
    figure.savefig(path, metadata={'Software': None})
    return path


def title_of(reports: Sequence[dict[str, Any]]) -> str:
    """Which runs a figure shows."""
    config = reports[0]['config']
    splits, seeds = (
        {r['config'][key] for r in reports} for key in ('split_seed', 'seed')
    )
    split = f'split {min(splits)}' if len(splits) == 1 else f'{len(splits)} splits'
    many = 's' * (len(seeds) > 1)
    return f'{config["name"]}, {split}, {len(seeds)} seed{many}'
