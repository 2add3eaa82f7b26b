"""One attribute column: its vocabulary or knots, and the tokens of its cells.

A further type of column is a subclass of :class:`ColumnEncoder` in :data:`STYPES`, and
a case of :func:`~agnn_pyg.base.cells.parse_column`.
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

# So many times the range of the fit below or above it, or below such a part of its
# lowest number, numbers are far from it.
FAR = 3
# New values of a table that are many, if they are half of all.
MANY_NEW = 5
# New values that are compared with known ones, if these are few, and how much alike
# texts are of which one is misspelled.
MAX_NEW, FEW_VALUES, ALIKE = 1000, 100, 0.85
DIGIT = re.compile(r'\d')
# The most words of a text column, and the knots of each dimension of a vector.
MAX_WORDS, VECTOR_KNOTS = 1000, 4

# Rows, token ids and weights.
Tokens = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class ColumnEncoder:
    """A fitted column, whose first token is :obj:`offset`.

    A token per value or knot comes first, then the one for rare values and the one for
    missing cells, if the fitted rows had any.
    """

    column: str
    stype: str
    offset: int
    values: list  # of a numeric column: its knots
    has_rare: bool
    has_missing: bool

    @classmethod
    def fit(
        cls, cells: ParsedColumn, offset: int, min_count: int, num_knots: int
    ) -> ColumnEncoder:
        """Fits a vocabulary or knots on the rows of a column."""
        if not len(cells.value) and cells.value.dtype != object:
            raise ValueError(
                f"'{cells.name}': column '{cells.column}' holds no number to fit knots "
                f'on in any row that is fitted; fill some in, or leave it out'
            )
        values, has_rare = cls.fit_values(cells, min_count, num_knots)
        if not values and cells.column != CONSTANT:
            least = f'{min_count} rows'
            if cells.stype == 'text':
                least += ' and at most half'
            # Other models may read values of any number of rows.
            warn(
                f"No value of column '{cells.column}' is in {least} of the fit, so "
                f"the network embeds none; fill it in, lower 'min_count', give it "
                f'another type, or leave it out'
            )
        has_missing = bool(cells.is_missing.any())
        return cls(cells.column, cells.stype, offset, values, has_rare, has_missing)

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        """The values or knots with tokens of their own, and whether others are rare."""
        raise NotImplementedError

    def tokens(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells that are not missing, counted from 0."""
        raise NotImplementedError

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        """The value of a cell, from the tokens of its values."""
        return ', '.join(str(self.values[p]) for p in place)

    def check_served(self, cells: ParsedColumn, table: TableColumn) -> None:
        """Raises ``ValueError`` if cells are of other types than those of the fit."""

    @property
    def num_tokens(self) -> int:
        return len(self.values) + self.has_rare + self.has_missing

    def encode(self, cells: ParsedColumn) -> Tokens:
        """The tokens of all cells that are not missing, then those of the missing."""
        row, token, weight = self.tokens(cells)
        if self.has_missing:
            missing = np.flatnonzero(cells.is_missing)
            row = np.append(row, missing)
            token = np.append(token, np.full(len(missing), self.num_tokens - 1))
            weight = np.append(weight, np.ones(len(missing)))
        return row, token + self.offset, weight


class CategoricalEncoder(ColumnEncoder):
    """A token per value; a cell holds one value or, in a multi-valued column, some."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        count = _count_rows(cells)
        kept = count.index[count >= min_count]
        # Sorted, so that the vocabulary does not depend on the order of the rows.
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
            refuse(~is_text, 'number', f'make texts of them{how}')
        if not any(fitted_texts):
            refuse(is_text, 'text', 'convert it as for the fit')
        if self.stype == 'multi':
            is_bare = np.array([not isinstance(cell, LISTS) for cell in given], bool)
            remedy = 'make lists of them, by as_lists of agnn_pyg.base.io or --lists'
            refuse(is_text & is_bare[cells.row], 'text that is no list', remedy)
        odd = unknown & unknown.all()
        if self.stype != 'text':  # words of few rows are not among those of the fit
            many = max(MANY_NEW, len(unknown) / 2)
            respelled = self._respelled(cells.value[unknown])
            respelled = unknown & is_text & pd.Series(cells.value).isin(respelled)
            odd = respelled if respelled.any() else odd | (unknown.sum() >= many)
        table.remark(
            cells.row[unknown & odd],
            f'holds values that the fit does not know (it knows {example}), the first '
            f'in',
            'check their spelling and case: values that are new tell nothing',
        )

    def _respelled(self, new: np.ndarray) -> list[str]:
        """New texts that differ from known ones in case, or in a letter of many."""
        known = {str(v).casefold() for v in self.values}
        # Those with digits are numbered.
        words = [v for v in known if len(known) <= FEW_VALUES and not DIGIT.search(v)]
        texts = {v: str(v).casefold() for v in pd.unique(new)[:MAX_NEW]}

        def is_near(text: str) -> bool:
            near = get_close_matches(text, words, 1, ALIKE)
            return bool(near) and not DIGIT.search(text)

        return [v for v, text in texts.items() if text in known or is_near(text)]

    def _places(self, cells: ParsedColumn) -> np.ndarray:
        return pd.Index(self.values, dtype=object).get_indexer(cells.value)


class TextEncoder(CategoricalEncoder):
    """A token per word, of those in at most half of the rows, the most frequent."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        count = _count_rows(cells).sort_index()
        count = count[(count >= min_count) & (2 * count <= cells.num_rows)]
        # All texts have rare words, so that a token for them would tell nothing.
        return sorted(count.nlargest(MAX_WORDS).index), False


class NumericEncoder(ColumnEncoder):
    """A token per knot; a number between two knots has a part of either token."""

    @staticmethod
    def fit_values(cells: ParsedColumn, min_count: int, num_knots: int) -> Any:
        grid = np.linspace(0, 1, num_knots)
        return np.unique(np.quantile(cells.value, grid)).tolist(), False

    def knots(self) -> np.ndarray:
        """The K knots of each of D dimensions, :obj:`[D, K]`."""
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
        # Most of a table in a smaller unit are a small part of the lowest number.
        is_small = (low > 0) & (FAR * value < low)
        is_far |= is_small & (2 * is_small.sum(axis=0) > len(value))
        # Where none is below zero, -1 perhaps stands for a missing one.
        marks = [mark for mark in PLACEHOLDERS.get(self.stype, ()) if mark < 0]
        is_far |= (low >= 0) & np.isin(value, marks)
        table.remark(
            cells.row[(is_far & (low < high)).mean(axis=1) >= 0.5],
            'holds values that are far from all of the fit, whose nearest counts, in',
            'bring them to the unit of the fit, or empty what stands for missing',
        )


class DateEncoder(NumericEncoder):
    """A date as days since 1970."""

    def text(self, place: np.ndarray, weight: np.ndarray) -> str:
        days = np.dot(weight, np.array(self.values)[place])
        return str(np.datetime64(0, 'D') + round(float(days)))


class VectorEncoder(NumericEncoder):
    """A few knots per dimension, as if each were a numeric column."""

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
            f'holds lists of another length than {size}, that of the fit, in',
            'compute them as those of the fit',
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
