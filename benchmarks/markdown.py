"""Tables as Markdown, and how figures are written in them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

NOT_RUN = 'not run'


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


def cells(table: str) -> list[list[str]]:
    """The rows of a table that :func:`markdown` wrote, its header first."""
    lines = table.splitlines()
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in (lines[0], *lines[2:])
    ]


def figures(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; fewer than three values themselves."""
    if len(values) < 3:
        return ', '.join(f'{value:.4f}' for value in values)
    return mean_std(values)


def mean_std(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation; a single value by itself."""
    mean = statistics.mean(values)
    if len(values) == 1:
        return f'{mean:.4f}'
    return plus_minus(mean, statistics.stdev(values))


def plus_minus(mean: float, spread: float) -> str:
    """Two significant digits of the spread, and the mean to the same place."""
    places = 4 if spread == 0 else min(max(1 - math.floor(math.log10(spread)), 2), 5)
    return f'{mean:.{places}f} ± {spread:.{places}f}'


def listed(values: Sequence[int]) -> str:
    """Numbers in ascending order."""
    return ', '.join(map(str, sorted(values)))
