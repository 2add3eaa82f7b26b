"""HTML files that need nothing else: templates, and charts as inline SVG."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent
REM_PER_INCH = 6.4  # at most: ten points of a chart are the page's small print
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


def chart(figure: Any, name: str, caption: str = '') -> dict[str, Any]:
    """A matplotlib figure as SVG in the page's font and colors, under a unique name."""
    import matplotlib

    stream = io.StringIO()
    # Text stays text, and ids do not change from run to run.
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
        figure.savefig(stream, format='svg', transparent=True)
    text = stream.getvalue()
    text = text[text.index('<svg') :]
    for pattern, replacement in CLEANED:
        text = re.sub(pattern, replacement.format(name), text, flags=re.DOTALL)
    width = REM_PER_INCH * figure.get_size_inches()[0]
    return {'svg': Markup(text), 'caption': caption, 'width': width}


def render(template: str, **values: Any) -> str:
    """A template of this folder, filled."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['figures'] = figures
    return environment.get_template(template).render(values)


def figures(text: str) -> str:
    """Minus signs for hyphens, and no line break between a figure and its spread."""
    return re.sub(r'(?<![\w.-])-(?=[\d.])', '−', text).replace(' ± ', '\xa0±\xa0')
