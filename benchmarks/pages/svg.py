"""Matplotlib figures as SVG inside a page, in the page's font and colours."""

from __future__ import annotations

import io
import re
from typing import Any

# The CSS variable that each colour of the plots becomes, light or dark.
VARIABLES = {
    '#000000': '--ink',
    '#1f6f8b': '--model',
    '#c98f4a': '--amber',
    '#7a9e62': '--green',
    '#8d6cab': '--violet',
    '#c0504d': '--red',
    '#8a8a8a': '--line',
    '#9a9a9a': '--grey',
    '#b8b8b8': '--grey-light',
    '#c4c4c4': '--grey-light',
    '#e6e6e6': '--grid',
}


def inline_svg(figure: Any, name: str, size: tuple[float, float] | None = None) -> str:
    """An ``<svg>`` element; the same numbers give the same text.

    Args:
        figure (matplotlib.figure.Figure): What is drawn.
        name (str): Unique in the page; begins the ids within.
        size (tuple, optional): Another width and height, in inches.
    """
    import matplotlib

    if size is not None:
        figure.set_size_inches(size)
    for axes in figure.axes:
        axes.set_title('')  # the caption says it
    stream = io.StringIO()
    # Text stays text, and ids do not change from run to run.
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
        figure.savefig(stream, format='svg', transparent=True)
    return _themed(stream.getvalue(), name)


def _themed(text: str, name: str) -> str:
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    text = re.sub(r'<!--.*?-->', '', text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', '', text)
    text = text.replace('xlink:href=', 'href=')
    for before in ('id="', 'href="#', 'url(#'):
        text = text.replace(before, f'{before}{name}-')
    # The viewBox keeps the proportions; the page decides the width.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1', text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1', text, count=1)
    # A style element would hold for the whole page.
    text = re.sub(r'<style.*?</style>', '', text, flags=re.DOTALL)
    text = re.sub(r'font: ([\d.]+px) [^;"]*', r'font-size: \1', text)
    text = re.sub(r'font-family: [^;"]*;? ?', '', text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f'var({variable})')
    return re.sub(r'\s*\n\s*', '\n', text)
