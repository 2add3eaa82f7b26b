"""Table and figure of the layer's cost, from its JSON and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.markdown import NOT_RUN, markdown

COLORS = {
    'GatedConv': '#1f6f8b',
    'naive': '#c0504d',
    'ResGatedGraphConv': '#c98f4a',
    'GATv2Conv': '#7a9e62',
    'TransformerConv': '#8d6cab',
    'SAGEConv': '#9a9a9a',
    'GCNConv': '#c4c4c4',
}


def layer_table(results: dict[str, Any]) -> str:
    """Cost at 100,000 nodes with 10 neighbours, as ratios to GATv2Conv."""
    rows = []
    for width in (30, 64):
        chosen = {
            t['layer']: t
            for t in results['timings']
            if t['vary'] == 'order'
            and t['width'] == width
            and t['sorted']
            and not t['torch_scatter']
        }
        memory = {m['layer']: m for m in results['memory'] if m['width'] == width}
        for name, timing in chosen.items():
            seconds = timing['forward_backward_s']
            ratio = seconds / chosen['GATv2Conv']['forward_backward_s']
            peak = memory[name]['peak_mb'] if name in memory else None
            rows.append(
                (
                    name,
                    str(width),
                    f'{timing["forward_s"]:.2f}',
                    f'{seconds:.2f}',
                    f'{ratio:.2f}',
                    NOT_RUN if peak is None else f'{peak:,.0f}',
                )
            )
    header = (
        'layer',
        'width',
        'forward, s',
        'with backward, s',
        'ratio to GATv2Conv',
        'peak memory, MB',
    )
    return markdown(header, rows)


# What varies: the measure of it, and how its axis is called.
PANELS = {
    'nodes': (lambda t: t['nodes'] * t['neighbors'], 'edges (width 30)'),
    'neighbors': (
        lambda t: t['neighbors'],
        'neighbours a node (20,000 nodes, width 64)',
    ),
    'width': (lambda t: t['width'], 'width (20,000 nodes, K = 10)'),
}


def plot_layers(results: dict[str, Any], path: Path) -> Path:
    """Time over edges, neighbours and width, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout='constrained', dpi=150)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, vary in zip(panels, PANELS, strict=True):
        draw_panel(axes, results, vary)
    panels[0].set_ylabel('forward + backward, CPU seconds')
    panels[0].legend(frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={'Software': None})
    return path


def draw_panel(axes: Any, results: dict[str, Any], vary: str) -> None:
    """Time of each layer over one of :obj:`PANELS`."""
    measure, label = PANELS[vary]
    timings = [t for t in results['timings'] if t['vary'] == vary]
    for name, color in COLORS.items():
        points = [
            (measure(t), t['forward_backward_s']) for t in timings if t['layer'] == name
        ]
        if points:
            own = name == 'GatedConv'
            axes.plot(
                *zip(*points, strict=True),
                'o-',
                color=color,
                label=name,
                lw=2.2 if own else 1.2,
                ms=4 if own else 3,
                zorder=3 if own else 2,
            )
    axes.set(xscale='log', yscale='log', xlabel=label)
    if vary != 'nodes':  # few values, between powers of ten: name them
        ticks = sorted({measure(t) for t in timings})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    axes.grid(True, which='major', color='#e6e6e6', lw=0.6)
    axes.spines[['top', 'right']].set_visible(False)
