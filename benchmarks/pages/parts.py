"""What a page is made of, before it is HTML."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# The CSS variable that each color of the plots becomes, light or dark.
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
SIZE = (4.5, 3.1)  # inches, of most charts; ten points are the page's small print


@dataclass(frozen=True)
class Text:
    """A paragraph; its kind is a CSS class: ``note``, ``heading`` or none."""

    text: str
    kind: str = ''


@dataclass(frozen=True)
class Grid:
    """A table with a caption.

    Attributes:
        header: One text a column.
        rows: As many a row; a second line of the first is small print.
        caption: What the figures are.
        own: First cells of the rows that are ours.
        words: Columns of words rather than of figures.
        beside: Whether it may share a row with neighbors of its kind.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ''
    own: Sequence[str] = ()
    words: Sequence[int] = ()
    beside: bool = False


@dataclass(frozen=True)
class Chart:
    """Inline SVG with a caption, which a screen reader reads, too."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Card:
    """A headline figure: of what, the figure, and what it is beside."""

    title: str
    value: str
    text: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; neighboring parts of a kind are grouped."""

    key: str
    title: str
    parts: Sequence[Any] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, list[Any]]]:
        """Runs of equal parts, each with the name of its kind."""
        groups: list[tuple[str, list[Any]]] = []
        for part in self.parts:
            kind = type(part).__name__
            kind += ' beside' * getattr(part, 'beside', False)
            if not groups or groups[-1][0] != kind:
                groups.append((kind, []))
            groups[-1][1].append(part)
        return groups


def chart(
    figure: Any, name: str, caption: str, size: tuple[float, float] | None = SIZE
) -> Chart:
    """A matplotlib figure as SVG in the page's font and colors.

    Args:
        figure: The figure.
        name: Unique in the page; begins the ids within.
        caption: What it shows.
        size: Another width and height, in inches; its own with ``None``.
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
    text = stream.getvalue()
    text = text[text.index('<svg') :]
    for pattern in (r'<metadata>.*?</metadata>', r'<!--.*?-->', r'<style.*?</style>'):
        text = re.sub(pattern, '', text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', '', text)
    text = text.replace('xlink:href=', 'href=')
    for before in ('id="', 'href="#', 'url(#'):
        text = text.replace(before, f'{before}{name}-')
    # The viewBox keeps the proportions; the page decides the width.
    for side in ('height', 'width'):
        text = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r'\1', text, count=1)
    text = re.sub(r'font: ([\d.]+px) [^;"]*', r'font-size: \1', text)
    text = re.sub(r'font-family: [^;"]*;? ?', '', text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, f'var({variable})')
    return Chart(re.sub(r'\s*\n\s*', '\n', text), caption)
