"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned for reading as text too."""
    table = [tuple(header), *map(tuple, rows)]
    width = [max(len(row[c]) for row in table) for c in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(w) if c == 0 else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(cells, width, strict=True))
        ]
        return '| ' + ' | '.join(padded) + ' |'

    rule = '|' + '|'.join(
        '-' * (w + 2) if c == 0 else '-' * (w + 1) + ':' for c, w in enumerate(width)
    )
    return '\n'.join([line(header), rule + '|', *map(line, rows)])
