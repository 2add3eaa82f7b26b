"""What a page is made of, before it is HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.markdown import cells
from benchmarks.pages.svg import inline_svg


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Plain text; the template escapes it.
        kind: A CSS class: :obj:`"note"`, :obj:`"heading"` or none.
    """

    text: str
    kind: str = ''


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        header: One text a column.
        rows: As many a row; a second line of the first is small print.
        caption: What the figures are.
        own: First cells of the rows that are ours.
        words: Columns of words rather than of figures.
        beside: Whether it may share a row with neighbours of its kind.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ''
    own: Sequence[str] = ()
    words: Sequence[int] = ()
    beside: bool = False


@dataclass(frozen=True)
class Chart:
    """Inline SVG with a caption, which is what a screen reader says of it, too."""

    svg: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Card:
    """A headline figure.

    Attributes:
        title: Of what.
        value: The figure.
        text: What it is beside.
    """

    title: str
    value: str
    text: str


@dataclass(frozen=True)
class Code:
    """Lines for a shell."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; neighbouring parts of a kind are grouped."""

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


def as_table(text: str, caption: str = '', own: Sequence[str] = ()) -> Table:
    """What :mod:`benchmarks.tables` writes as Markdown, cell by cell the same."""
    header, *rows = cells(text)
    return Table(header, rows, caption, own)


def chart(figure: Any, name: str, caption: str, size: tuple[float, float]) -> Chart:
    """A figure at a size in inches; ten points are the page's small print."""
    return Chart(inline_svg(figure, name, size), caption)
