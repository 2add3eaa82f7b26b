"""Figures made only from rows of results; equal rows give equal files."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from benchmarks.stats import by_split
from benchmarks.suite import Suite
from benchmarks.tables import CURVE, cases, support_means, words

OWN_COLOR, OTHER_COLOR, LINE_COLOR = '#1f6f8b', '#b8b8b8', '#8a8a8a'
COLORS = ('#9a9a9a', '#7a9e62', '#8d6cab', '#c98f4a', '#c0504d', '#4fa3a5', '#000000')
# Scenarios in the figure of errors over fit time.
TIMED = ('item_cold', 'warm')
# Positions of a name relative to its point, in order: right, left, above, below.
NAME_PLACES = [((9, 0), 'left', 'center'), ((-9, 0), 'right', 'center')]
NAME_PLACES += [((0, 7), 'center', 'bottom'), ((0, -7), 'center', 'top')]
GRID = {'color': '#e6e6e6', 'lw': 0.6}
# Panels of the layer figure: the varied quantity, its column, and its axis label.
PANELS = {
    'nodes': ('edges', 'edges (width 30)'),
    'neighbors': ('neighbors', 'neighbors a node (20,000 nodes, width 64)'),
    'width': ('width', 'width (20,000 nodes, 10 neighbors)'),
}

REM_PER_INCH = 6.4  # so that ten points in a chart match the page's small print
# Replacements in matplotlib's SVG: ids unique in the page, no size (the viewBox keeps
# the proportions), the page's font, and a CSS variable for each color.
CLEANED = (
    (r'<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>', ''),
    (r' xmlns(:xlink)?="[^"]*"|xlink:', ''),
    (r'(id="|href="#|url\(#)', r'\1{0}-'),
    (r'^(<svg[^>]*?) height="[^"]*"', r'\1'),
    (r'^(<svg[^>]*?) width="[^"]*"', r'\1'),
    (r'font: ([\d.]+px) [^;"]*', r'font-size: \1'),
    (r'font-family: [^;"]*;? ?', ''),
    (r'#([0-9a-f]{6})\b', r'var(--c\1)'),
    (r'\s*\n\s*', '\n'),
)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> Any:
    """Makes a figure with a size in inches, and its axes."""
    figure = Figure(figsize=(width, height), layout='constrained', dpi=150)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.spines[['top', 'right']].set_visible(False)
    return figure, *panels


def lead_dots(part: pd.DataFrame, suite: Suite) -> Any | None:
    """Differences of others from our model: bars are means, dots are splits."""
    scores = by_split(part, suite.metric).reindex(columns=suite.labels)
    gaps = scores.sub(scores[suite.own], axis=0).drop(columns=suite.own)
    gaps = gaps.dropna(axis=1, how='all')
    if gaps.empty:
        return None
    figure, axes = new_figure(4.5, 0.9 + 0.27 * len(gaps.columns))
    axes.barh(gaps.columns, gaps.mean(), color=OTHER_COLOR, height=0.55)
    axes.plot(gaps.T, gaps.columns, 'o', color=OWN_COLOR, ms=3.5, lw=0)
    axes.axvline(0, color=LINE_COLOR, lw=1)
    axes.invert_yaxis()
    axes.locator_params(axis='x', nbins=5)
    axes.set_xlabel(f'{words(suite.metric)} above {suite.own}', loc='right')
    return figure


def time_panel(axes: Any, part: pd.DataFrame, suite: Suite) -> None:
    """Test RMSE over fit time, one point per estimator."""
    names = {*suite.baselines, suite.own} - {'global mean'}
    part = part[(part['part'] == 'test') & part['estimator'].isin(names)]
    means = part.groupby('estimator')[['cpu_seconds', suite.metric]].mean().dropna()
    for label, point in means.iterrows():
        color, size = (OWN_COLOR, 9) if label == suite.own else (COLORS[0], 6)
        axes.plot(*point, 'o', label=label, color=color, ms=size)
    axes.set(xscale='log', xlabel='CPU seconds of a fit', ylabel='test RMSE')
    axes.margins(0.08)
    axes.grid(True, **GRID)


def name_points(axes: Any, own: str) -> None:
    """Writes the label of each point where it overlaps least."""
    reach = 6 * axes.figure.dpi / 72
    points = [axes.transData.transform(line.get_xydata()[0]) for line in axes.lines]
    taken = [Bbox([point - reach, point + reach]) for point in points]
    taken.append(Bbox.from_extents(axes.bbox.x1, 0, np.inf, np.inf))

    def move(text: Any, place: tuple) -> int:
        position, ha, va = place
        text.set(position=position, ha=ha, va=va)
        return text.get_window_extent().count_overlaps(taken)

    for line in axes.lines:
        label, (point,) = line.get_label(), line.get_xydata()
        text = axes.annotate(label, point, (0, 0), textcoords='offset points')
        text.set(fontsize=8, weight='bold' if label == own else None)
        move(text, min(NAME_PLACES, key=partial(move, text)))
        taken.append(text.get_window_extent())


def time_figure(columns: Mapping[str, pd.DataFrame], suite: Suite) -> Any:
    """Test RMSE over fit time, one panel for each of two scenarios."""
    figure, *panels = new_figure(10, 4, columns=len(TIMED))
    for axes, name in zip(panels, TIMED, strict=True):
        time_panel(axes, columns[words(name)], suite)
        axes.set_title(f'{words(suite.data[0])}, {words(name)}', fontsize=10)
    figure.draw_without_rendering()  # sizes are known after drawing
    for axes in panels:
        name_points(axes, suite.own)
    return figure


def support_curve(part: pd.DataFrame, suite: Suite) -> Any:
    """nDCG@10 by support size; points are means over splits."""
    figure, axes = new_figure(6.4, 4.2)
    # Random scores would flatten the other curves.
    means = support_means(part, suite).dropna().drop('random', errors='ignore')
    floor, color = 1.0, iter((*COLORS, OTHER_COLOR))
    for label, curve in means.iterrows():
        own = label == suite.own
        if own or curve.iloc[0] == curve.iloc[-1]:
            floor = min(floor, curve.min())
        style = {'lw': 2.4, 'ms': 5, 'zorder': 3, 'color': OWN_COLOR}
        if not own:
            style = {'lw': 1.3, 'ms': 3.5, 'zorder': 2, 'color': next(color)}
        axes.plot(range(len(curve)), curve, 'o-', label=label, **style)
    # Cut off scores below those without any support.
    axes.set_ylim(bottom=floor - 0.01)
    axes.set_xticks(range(len(means.columns)), map(str, means))
    axes.grid(True, axis='y', **GRID)
    axes.set(xlabel='support interactions of a new user', title=words(suite.data[0]))
    axes.set_ylabel(f'test {words(CURVE)} (axis cut)')
    axes.legend(frameon=False, fontsize=8)
    return figure


def curves(axes: Any, part: pd.DataFrame, names: str, x: str, y: str) -> None:
    """One curve per name, on logarithmic axes."""
    color = iter(COLORS[1:])
    for name, found in part.groupby(names, sort=False):
        style = {'color': OWN_COLOR, 'lw': 2.2}
        if name != 'GatedConv' and not name.startswith('blend'):
            style = {'color': next(color), 'lw': 1.3}
        axes.plot(found[x], found[y], 'o-', label=name, ms=3.5, **style)
    axes.set(xscale='log', yscale='log')
    axes.grid(True, which='major', **GRID)


def layer_figure(perf: pd.DataFrame) -> Any:
    """Time of each layer over edges, neighbors and width."""
    figure, *panels = new_figure(10, 3.6, columns=len(PANELS))
    found = cases(perf, 'layer')
    found['edges'] = found['nodes'] * found['neighbors']
    for axes, (vary, (what, label)) in zip(panels, PANELS.items(), strict=True):
        part = found[found['vary'] == vary]
        curves(axes, part, 'layer', what, 'forward_backward_s')
        axes.set_xlabel(label)
        if what != 'edges':  # few values: label each one
            values = sorted(part[what].unique())
            axes.minorticks_off()
            axes.set_xticks(values, list(map(str, values)))
    panels[0].set_ylabel('forward + backward, CPU seconds')
    panels[0].legend(frameon=False, fontsize=7)
    return figure


def scale_figure(perf: pd.DataFrame) -> Any:
    """Time and memory of fits over ratings, and of attribute graphs over nodes."""
    figure, *panels = new_figure(8.4, 6.6, 2, 2)
    measures = {'cpu_seconds': 'CPU seconds', 'peak_memory_mb': 'peak memory, MB'}
    parts = ('growth', 'estimator', 'ratings'), ('graph', 'table', 'nodes')
    places = product(parts, measures.items())
    for axes, ((name, group, x), (what, title)) in zip(panels, places, strict=True):
        found = cases(perf, name)
        if name == 'growth' and what == 'cpu_seconds':
            for label, part in found.groupby(group):
                power = np.polyfit(np.log(part[x]), np.log(part[what]), 1)[0]
                named = f'{label}: ratings to the power of {power:.2f}'
                found[group] = found[group].replace(label, named)
        curves(axes, found, group, x, what)
        axes.set(xlabel=x, ylabel=title)
    for axes in panels[::2]:
        axes.legend(frameon=False, fontsize=7)
    return figure


def chart(figure: Any, name: str, caption: str = '') -> dict[str, Any]:
    """Renders a figure as SVG with the page's font and colors, under a unique name."""
    stream = io.StringIO()
    # Keep text as text, and ids constant between runs.
    with rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
        figure.savefig(stream, format='svg', transparent=True)
    text = stream.getvalue()
    text = text[text.index('<svg') :]
    for pattern, replacement in CLEANED:
        text = re.sub(pattern, replacement.format(name), text, flags=re.DOTALL)
    width = REM_PER_INCH * figure.get_size_inches()[0]
    return {'svg': Markup(text), 'caption': caption, 'width': width}
