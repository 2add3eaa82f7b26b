"""From parts to one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from benchmarks.pages.parts import Section

FOLDER = Path(__file__).parent


def render(
    title: str, lead: str, sections: Sequence[Section], other: tuple[str, str]
) -> str:
    """A page with its styles, script and charts inside.

    Args:
        title (str): Heading of the page.
        lead (str): A paragraph below it.
        sections (sequence): In their order.
        other (tuple): File and name of the page beside this one.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {'cell': cell, 'figures': figures, 'head': head}
    style, script = (
        Markup((FOLDER / name).read_text(encoding='utf-8'))
        for name in ('page.css', 'page.js')
    )
    template = environment.get_template('page.html')
    return template.render(
        title=title,
        lead=lead,
        sections=sections,
        other=other,
        style=style,
        script=script,
        safe=Markup,
    )


def figures(text: str) -> str:
    """Minus signs for hyphens, and no line break between a figure and its spread."""
    text = re.sub(r'(?<![\w.-])-(?=[\d.])', '−', text)
    return text.replace(' ± ', '\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}')


def cell(text: str) -> Markup:
    """Figures with their spread in small print, and one figure a line."""
    lines = []
    for figure in figures(text).split(' / '):
        mean, sign, spread = figure.partition('\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}')
        small = f' <small>± {escape(spread)}</small>' if sign else ''
        lines.append(f'{escape(mean)}{small}')
    return Markup('<br>'.join(lines))


def head(text: str) -> Markup:
    """The first line, and the others in small print."""
    first, *others = text.splitlines() or ['']
    small = ''.join(f' <small>{escape(line)}</small>' for line in others)
    return Markup(f'{escape(first)}{small}')
