"""Encoders of one attribute column: they fit a vocabulary or knots and return tokens.

To add a type, register a subclass of :class:`ColumnEncoder` in :data:`STYPES` and add
a case to :func:`~agnn_pyg.base.cells.parse_column`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from agnn_pyg.base.cells import CONSTANT, LISTS, ParsedColumn
from agnn_pyg.base.checks import TableColumn, as_text, plain, warn
from agnn_pyg.base.oddities import PLACEHOLDERS

# A number is far from the fitted range if it is FAR times its width outside of it, or
# below 1 / FAR of its lowest number.
FAR = 3
# A table has many new values if they are at least this many and half of all.
MANY_NEW = 5
# Spelling check: at most MAX_NEW new values are compared, with at most FEW_VALUES known
# ones; a similarity of ALIKE suggests a misspelling.
MAX_NEW, FEW_VALUES, ALIKE = 1000, 100, 0.85
DIGIT = re.compile(r'\d')
# The maximum number of words of a text column, and the knots per vector dimension.
MAX_WORDS, VECTOR_KNOTS = 1000, 4

# Rows, token ids and weights.
Tokens = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class ColumnEncoder:
    """A fitted column; its tokens are numbered from :obj:`offset`.

    There is one token per value or knot, then one for rare values and one for missing
    cells, if the fitted rows had any.
    """

    column: str
    stype: str
    offset: int
    values: list  # the knots of a numeric column
    has_rare: bool
    has_missing: bool

    @classmethod
    def fit(
        cls, cells: ParsedColumn, offset: int, min_count: int, num_knots: int
    ) -> ColumnEncoder:
        """Fits a vocabulary or knots on the rows of a column."""
        if not len(cells.value) and cells.value.dtype != object:
            raise ValueError(
                f"'{cells.name}': column '{cells.column}' holds no number in the rows "
                f'of the fit; fill some in, or leave it out'
            )
        values, has_rare = cls.fit_values(cells, min_count, num_knots)
        if not values and cells.column != CONSTANT:
            least = f'{min_count} rows'
            if cells.stype == 'text':
                least += ' and at most half'
            # Other models may use rarer values.
            warn(
                f"No value of column '{cells.column}' is in {least} of the fit, so "
                f"the network ignores it; fill it in, lower 'min_count', give it "
                f'another type, or leave it out'
            )
        has_missing = bool(cells.is_missing.any())
        return cls(cells.column, cells.stype, offset, values, has_rare, has_missing)

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        """The values or knots that get tokens, and whether others are rare."""
        raise NotImplementedError

    def tokens(self, cells: ParsedColumn) -> Tokens:
        """The tokens of the present cells, counted from 0."""
        raise NotImplementedError

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        """The value of a cell as text, decoded from its tokens."""
        return ', '.join(str(self.values[p]) for p in place)

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        """Raises ``ValueError`` if cells have other types than in the fit."""

    @property
    def num_tokens(self) -> int:
        return len(self.values) + self.has_rare + self.has_missing

    def encode(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells: first of present ones, then of missing ones."""
        row, token, weight = self.tokens(cells)
        if self.has_missing:
            missing = np.flatnonzero(cells.is_missing)
            row = np.append(row, missing)
            token = np.append(token, np.full(len(missing), self.num_tokens - 1))
            weight = np.append(weight, np.ones(len(missing)))
        return row, token + self.offset, weight


class CategoricalEncoder(ColumnEncoder):
    """One token per value; a cell of a multi-valued column holds several values."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        count = _count_rows(cells)
        kept = count.index[count >= min_count]
        # Sorted: the vocabulary must not depend on the order of the rows.
        values = sorted(map(plain, kept), key=lambda v: (str(v), str(type(v))))
        return values, len(values) < len(count)

    def tokens(self, cells: ParsedColumn) -> Tokens:
        place = self._places(cells)
        if self.has_rare:
            place = np.where(place < 0, len(self.values), place)
        known = place >= 0
        # A bag is a set: two rare values in one row are one rare token.
        row, token = np.unique(np.stack([cells.row[known], place[known]]), axis=1)
        return row, token, np.ones(len(row))

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        if not self.values or self.column == CONSTANT:
            return
        unknown = self._places(cells) < 0
        is_text = np.array([isinstance(v, str) for v in cells.value], bool)
        fitted_texts = [isinstance(v, str) for v in self.values]
        given = table.frame[self.column]
        example = repr(self.values[0])

        def refuse(bad: np.ndarray, what: str, remedy: str) -> None:
            problem = f'holds a {what}, unlike the fit (such as {example}), in'
            table.refuse(cells.row[unknown & bad], problem, remedy)

        if all(fitted_texts):
            how = '' if self.stype == 'multi' else f', such as by {as_text(given)}'
            refuse(~is_text, 'number', f'convert them to texts{how}')
        if not any(fitted_texts):
            refuse(is_text, 'text', 'convert it as for the fit')
        if self.stype == 'multi':
            is_bare = np.array([not isinstance(cell, LISTS) for cell in given], bool)
            remedy = 'split it with agnn_pyg.base.io.as_lists or --lists'
            refuse(is_text & is_bare[cells.row], 'text instead of a list', remedy)
        odd = unknown & unknown.all()
        if self.stype != 'text':  # the vocabulary lacks rare words in any case
            many = max(MANY_NEW, len(unknown) / 2)
            meant = self._respelled(cells.value[unknown])
            respelled = unknown & is_text & pd.Series(cells.value).isin(meant)
            odd = respelled if respelled.any() else odd | (unknown.sum() >= many)
            if respelled.any():
                example = repr(meant[cells.value[respelled][0]])
        effect = 'count as rare ones' if self.has_rare else 'do not affect predictions'
        table.remark(
            cells.row[unknown & odd],
            f'holds values that are not in the fit (which has {example}), the first in',
            f'check their spelling and case: new values {effect}',
        )

    def _respelled(self, new: np.ndarray) -> dict[Any, Any]:
        """The known text for new texts with another case or a few other letters."""
        known = {str(v).casefold(): v for v in self.values}
        # Texts with digits may be numbered, such as 'part 1' and 'part 2'.
        words = [v for v in known if len(known) <= FEW_VALUES and not DIGIT.search(v)]
        meant = {}
        for value in pd.unique(new)[:MAX_NEW]:
            text = str(value).casefold()
            is_numbered = DIGIT.search(text)
            near = [] if is_numbered else get_close_matches(text, words, 1, ALIKE)
            if text in known or near:
                meant[value] = known[text if text in known else near[0]]
        return meant

    def _places(self, cells: ParsedColumn) -> np.ndarray:
        return pd.Index(self.values, dtype=object).get_indexer(cells.value)


class TextEncoder(CategoricalEncoder):
    """One token for each of the most frequent words that at most half of rows have."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        count = _count_rows(cells).sort_index()
        count = count[(count >= min_count) & (2 * count <= cells.num_rows)]
        # No token for rare words: all texts have some.
        return sorted(count.nlargest(MAX_WORDS).index), False


class NumericEncoder(ColumnEncoder):
    """One token per knot; a number is interpolated between its two nearest knots."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        grid = np.linspace(0, 1, num_knots)
        return np.unique(np.quantile(cells.value, grid)).tolist(), False

    def knots(self) -> np.ndarray:
        """The knots of each dimension, :obj:`[D, K]`."""
        return np.array([self.values])

    def tokens(self, cells: ParsedColumn) -> Tokens:
        knots = self.knots()
        size = knots.shape[1]
        dimension = np.arange(len(knots))
        value = cells.value.reshape(len(cells.row), len(knots))
        value = value.clip(knots[:, 0], knots[:, -1])
        left = ((value[..., None] >= knots).sum(-1) - 1).clip(0, max(0, size - 2))
        low, high = (knots[dimension, np.minimum(left + k, size - 1)] for k in (0, 1))
        gap = high - low
        part = np.divide(value - low, gap, out=np.zeros_like(gap), where=gap > 0)
        part, token = part.ravel(), (left + size * dimension).ravel()
        row = np.tile(np.repeat(cells.row, len(knots)), 2)
        return row, np.append(token, token + 1), np.append(1 - part, part)

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        return f'{np.dot(weight, np.array(self.values)[place]):g}'

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        knots = self.knots()
        value = cells.value.reshape(len(cells.row), len(knots))
        low, high = knots[:, 0], knots[:, -1]
        beyond = np.maximum(low - value, value - high)
        is_far = beyond > FAR * (high - low)
        # In a larger unit, most numbers are far below the lowest number of the fit.
        is_small = (low > 0) & (FAR * value < low)
        is_far |= is_small & (2 * is_small.sum(axis=0) > len(value))
        # Later dates are usual, but not most numbers beyond the fitted range.
        is_beyond = (beyond > 0) & (self.stype == 'numeric')
        is_many = is_beyond.sum(axis=0) >= max(MANY_NEW, len(value) / 2)
        is_far |= is_beyond & is_many
        # If the fit has no negative number, -1 may stand for a missing one.
        marks = [mark for mark in PLACEHOLDERS.get(self.stype, ()) if mark < 0]
        is_far |= (low >= 0) & np.isin(value, marks)
        table.remark(
            cells.row[(is_far & (low < high)).mean(axis=1) >= 0.5],
            'holds values outside of the fitted range, clamped to it, in',
            'convert them to the unit of the fit, or empty cells that mean missing',
        )


class DateEncoder(NumericEncoder):
    """Encodes dates as days since 1970."""

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        days = np.dot(weight, np.array(self.values)[place])
        return str(np.datetime64(0, 'D') + round(float(days)))


class VectorEncoder(NumericEncoder):
    """Encodes each dimension of a vector as a numeric column with a few knots."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        knots = np.quantile(cells.value, np.linspace(0, 1, VECTOR_KNOTS), axis=0)
        return knots.T.ravel().tolist(), False

    def knots(self) -> np.ndarray:
        return np.reshape(self.values, (-1, VECTOR_KNOTS))

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        return f'{len(self.knots())} numbers'

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        size = len(self.knots())
        table.refuse(
            np.full(len(cells.row), cells.value.shape[1] != size),
            f'holds lists whose length differs from the fit ({size}) in',
            'compute them as for the fit',
        )
        super().check_served(cells, table)


STYPES: dict[str, type[ColumnEncoder]] = {
    'categorical': CategoricalEncoder,
    'multi': CategoricalEncoder,
    'numeric': NumericEncoder,
    'date': DateEncoder,
    'text': TextEncoder,
    'vector': VectorEncoder,
}


def _count_rows(cells: ParsedColumn) -> pd.Series:
    """The number of rows in which each value occurs."""
    pairs = pd.DataFrame({'row': cells.row, 'value': cells.value})
    return pairs.drop_duplicates()['value'].value_counts()
