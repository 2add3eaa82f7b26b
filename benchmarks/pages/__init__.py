"""One HTML file that needs nothing else, from parts that are made in Python."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

FOLDER = Path(__file__).parent
SIZE = (4.5, 3.1)  # inches, of most charts; ten points are the page's small print
SPREAD = '\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}'
# What SVG of matplotlib is made into: ids of one page, no size (the viewBox keeps the
# proportions), the page's font, and a variable of its style for each color.
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


class Text(NamedTuple):
    """A paragraph; its kind is a CSS class: ``note``, ``heading`` or none."""

    text: str
    kind: str = ''


class Grid(NamedTuple):
    """A table with a caption."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # a second line of a row's first text is small print
    caption: str = ''
    own: Sequence[str] = ()  # first texts of the rows that are ours
    words: Sequence[int] = ()  # columns of words rather than of figures
    beside: bool = False  # whether it may share a row with neighbors of its kind


class Chart(NamedTuple):
    """Inline SVG with a caption, which a screen reader reads, too."""

    svg: str
    caption: str


class Card(NamedTuple):
    """A headline figure: of what, the figure, and what it is beside."""

    title: str
    value: str
    text: str


class Section(NamedTuple):
    """A heading and what stands below it."""

    key: str
    title: str
    parts: Sequence[Any]

    @property
    def groups(self) -> list[tuple[str, list[Any]]]:
        """Neighboring parts of a kind, each with its name."""
        kinds = groupby(
            self.parts,
            lambda part: (
                type(part).__name__ + ' beside' * getattr(part, 'beside', False)
            ),
        )
        return [(kind, [*parts]) for kind, parts in kinds]


def chart(
    figure: Any, name: str, caption: str, size: tuple[float, float] | None = SIZE
) -> Chart:
    """A matplotlib figure as SVG in the page's font and colors.

    The name is unique in the page; the size is in inches, or its own with ``None``.
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
    for pattern, replacement in CLEANED:
        text = re.sub(pattern, replacement.format(name), text, flags=re.DOTALL)
    return Chart(text, caption)


def render(
    title: str, lead: str, sections: Sequence[Section], other: tuple[str, str]
) -> str:
    """A page of sections, with a link to another: its file and its name."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {'cell': _cell, 'figures': _figures, 'head': _head}
    files = {'style': 'page.css', 'script': 'page.js'}
    parts = {k: Markup((FOLDER / v).read_text('utf-8')) for k, v in files.items()}
    parts |= {'title': title, 'lead': lead, 'sections': sections, 'other': other}
    return environment.get_template('page.html').render(**parts, safe=Markup)


def _figures(text: str) -> str:
    """Minus signs for hyphens, and no line break between a figure and its spread."""
    return re.sub(r'(?<![\w.-])-(?=[\d.])', '−', text).replace(' ± ', SPREAD)


def _cell(text: str) -> Markup:
    """Figures with their spread in small print, and one figure a line."""
    lines = []
    for figure in _figures(text).split(' / '):
        mean, sign, spread = figure.partition(SPREAD)
        small = f' <small>± {escape(spread)}</small>' if sign else ''
        lines.append(f'{escape(mean)}{small}')
    return Markup('<br>'.join(lines))


def _head(text: str) -> Markup:
    """The first line, and the others in small print."""
    first, *others = text.splitlines() or ['']
    small = ''.join(f' <small>{escape(line)}</small>' for line in others)
    return Markup(f'{escape(first)}{small}')
