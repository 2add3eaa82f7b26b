"""The tables of ratings, users and items: read and validated once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from agnn_pyg.base.checks import TableColumn, check_columns, shown, warn, where
from agnn_pyg.base.columns import (
    MANY,
    CellTypeError,
    ParsedColumn,
    constant_column,
    parse_column,
)
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.recommender_config import ColumnsConfig
from agnn_pyg.base.vocabulary import IdColumn, Vocabulary, read_ids

SIDES = ('user', 'item')
# Ratings of which a single one may be mistyped.
FEW_ROWS = 50
# Columns that name a row for people.
TITLES = ('title', 'name')
# Columns of positives or edges that say how strong they are, and columns that say which
# rows are positives, in small letters alone.
COUNTS = re.compile(
    '(num|total|order)?(weights?|counts?|cnt|quantity|qty|units|amount|times|frequency'
    '|freq|plays?(count)?|purchases|orders|visits|views|clicks|hits|listens|seconds'
    '|minutes|duration)|n'
)
OUTCOMES = re.compile(
    '(is)?(click(ed)?|label|purchased?|liked?|bought|convert(ed)?|conversion|target'
    '|positive)|event(type|name)?|action|interaction(type)?'
)
# What texts that are read as categories may be, and how they are converted.
TEXTS = {
    r'[^|]+(\|[^|]+)+': "lists as texts, which .str.split('|') or --lists reads,",
    r'[^;.]{1,24}(;[^;.]{1,24})+': (
        "lists as texts, which .str.split(';') or --lists reads,"
    ),
    r'\[\s*[-+.\de]+(\s+[-+.\de]+)+\s*\]': (
        'arrays as texts, which .map(lambda t: [*map(float, t[1:-1].split())]) or '
        '--lists reads,'
    ),
    r'[\[({].*[\])}]': 'lists as texts, which .map(ast.literal_eval) or --lists reads,',
    r'\d{1,4}([./-])\d\d?\1\d{1,4}\b.*': 'dates as texts, not like 1999-12-31,',
    r'\D{0,3}\d+[.,]\d+\D{0,3}': 'numbers as texts',
}
# A whole number, perhaps of money or with a unit; codes have more digits.
WHOLE = re.compile(r'[$€£¥]?\s?[1-9]\d{0,3}\s?[A-Za-z$€£¥%]{0,4}')
# What may be a list in a text, with commas or slashes.
PARTS = re.compile(r'[^,/[]{1,24}([,/] ?[^,/]{1,24})+')


class Ratings(NamedTuple):
    """A table of R ratings: ids of users and of items, and finite numbers."""

    user: IdColumn
    item: IdColumn
    rating: np.ndarray
    column: TableColumn  # of the numbers
    index: np.ndarray | None = None  # rows of users and items, [2, R], once known

    def check_rows(self, purpose: str) -> None:
        """Raises ``ValueError`` if there are no ratings for a purpose."""
        if not len(self.rating):
            raise ValueError(f"'{self.user.name}' has no rows; {purpose}")

    def pairs(self, ids: Mapping[str, Vocabulary]) -> Ratings:
        """These with rows of users and items; ``ValueError`` names an id without."""
        return self._replace(index=_rows(self[:2], ids))

    def warn_of_known(self, known: Any, table: str) -> None:
        """Warns if some of these pairs are among the rows, two arrays, of a table."""
        known = pd.MultiIndex.from_arrays([*known])
        both = pd.MultiIndex.from_arrays([*self.index]).isin(known)
        if both.any():
            columns = self.user.column, self.item.column
            warn(
                f"'{self.user.name}' repeats pairs of {table} in "
                f'{where(self.user.frame, both, *columns)}, which the model knows; to '
                f'measure what it predicts, drop them',
            )


class Edges(NamedTuple):
    """A table of E undirected edges of one side: ids, and positive weights."""

    source: IdColumn
    target: IdColumn
    weight: np.ndarray

    def adjacency(self, ids: Vocabulary, table: str) -> sp.csr_matrix:
        """Symmetric weights, :obj:`[N, N]`; ``ValueError`` names an id without a row.

        Of an edge that is repeated, in either direction, the largest weight counts.
        """
        one, other = (c.check_known(ids.rows(c), table) for c in self[:2])
        frame = pd.DataFrame({'low': np.minimum(one, other), 'weight': self.weight})
        pairs = frame.groupby(['low', np.maximum(one, other)])['weight'].max()
        index = [pairs.index.get_level_values(k) for k in (0, 1)]
        half = sp.csr_matrix((pairs, index), (len(ids), len(ids)))
        return half + half.T


@dataclass(frozen=True)
class NodeTable:
    """The users or the items of a fit; a constant is an attribute if there is none."""

    ids: Vocabulary
    columns: list[ParsedColumn]
    given: bool  # whether there was a table, rather than ids of ratings alone

    def encode(
        self, min_count: int, num_knots: int, rows: np.ndarray | None = None
    ) -> tuple[AttributeEncoder, TokenBags]:
        """Fits an encoder on some rows (default: on all), and encodes all of them."""
        stypes = {cells.column: cells.stype for cells in self.columns}
        encoder = AttributeEncoder(stypes, min_count, num_knots)
        fitted = self.columns
        if rows is not None:
            mask = np.isin(np.arange(len(self.ids)), rows)
            fitted = [cells.take(mask) for cells in fitted]
        return encoder, encoder.fit(fitted).transform(self.columns)


class FitTables(NamedTuple):
    """What a recommender is fitted on; nodes and weights of given edges by side."""

    nodes: dict[str, NodeTable]
    ratings: Ratings
    validation: Ratings | None
    links: dict[str, sp.csr_matrix]


def read_tables(
    config: ColumnsConfig,
    ratings: pd.DataFrame,
    users: pd.DataFrame | None = None,
    items: pd.DataFrame | None = None,
    validation: pd.DataFrame | None = None,
    new_users: bool = False,
    edges: Mapping[str, pd.DataFrame | None] | None = None,
) -> FitTables:
    """Reads the tables of a fit; ``ValueError`` names column, row and remedy.

    Without a table of users, :obj:`new_users` takes also those of the validation alone,
    and those of the edges of users are taken, too; likewise for items.
    """
    config.check_columns()
    train = read_ratings(ratings, 'ratings', config)
    validated = None
    train.check_rows('there is nothing to train on')
    if config.rating is not None and np.ptp(train.rating) == 0:
        raise ValueError(
            f"'ratings' are all {float(train.rating[0]):g}, so nothing can be learned; "
            f'add some that users did not choose or like, with a lower rating such as 0'
        )
    if validation is not None and len(validation):
        validated = read_ratings(validation, 'validation', config)
    if config.rating is None:
        train = train._replace(rating=bounded_weights(train))
    if config.rating is not None and config.rating_range is None:
        train = train._replace(rating=_bounded(train))
    joined = read_edges(edges or {})
    nodes = {}
    for side, frame, rated in zip(SIDES, (users, items), train[:2], strict=True):
        further = [*joined[side][:2]] if side in joined else []
        if validated and new_users and side == 'user':
            further.append(validated.user)
        nodes[side] = _read_nodes(config, side, frame, rated, further)
    ids = {side: table.ids for side, table in nodes.items()}
    links = {s: found.adjacency(ids[s], f'{s}s') for s, found in joined.items()}
    train = train.pairs(ids)
    validated = validated and validated.pairs(ids)
    if validated:
        validated.warn_of_known(train.index, "'ratings'")
    return FitTables(nodes, train, validated, links)


def read_edges(given: Mapping[str, pd.DataFrame | None]) -> dict[str, Edges]:
    """Tables of edges by side: two columns of ids, and perhaps one named weight."""
    found = {}
    for side, frame in given.items():
        if frame is None:
            continue
        name = f'{side}_edges'
        check_columns(frame, name, [])
        if len(frame.columns) < 2:
            raise ValueError(
                f"'{name}' must have two columns of ids (it has "
                f'{", ".join(map(str, frame.columns)) or "none"}); give both ends'
            )
        one, other = (read_ids(frame, column, name) for column in frame.columns[:2])
        if one.dtype == other.dtype:
            is_loop = one.values == other.values
            other.refuse(is_loop, f'joins a {side} with itself in', 'drop the row')
        column = 'weight' if 'weight' in frame.columns[2:] else None
        if column is None:
            _warn_of_unread(frame.iloc[:, 2:], name, 'all edges weigh the same')
        found[side] = Edges(one, other, _read_weights(frame, column, name))
    return found


def read_ratings(frame: pd.DataFrame, name: str, config: ColumnsConfig) -> Ratings:
    """The table :obj:`name` of finite ratings, in which each pair is rated once.

    Where the config has no column of ratings, each row is a positive interaction, with
    the number of its column :obj:`weight`, or 1; those of repeated pairs are summed.
    """
    columns = [config.user, config.item]
    ids = [read_ids(frame, column, name) for column in columns]
    pairs = pd.DataFrame({column.column: column.values for column in ids})
    repeated = pairs.duplicated().to_numpy()
    if config.rating is None:
        if config.weight is None:
            _warn_of_unread(frame, name, 'each row counts as one positive')
        weight = _read_weights(frame, config.weight, name)
        if repeated.any():
            warn(
                f"'{name}' repeats pairs, whose weights are summed, in "
                f'{where(frame, repeated, *columns)}',
            )
            weight = np.bincount(pairs.groupby(columns, sort=False).ngroup(), weight)
            ids = [read_ids(frame[~repeated], column, name) for column in columns]
        return Ratings(*ids, weight, TableColumn(frame, config.weight, name))
    column = TableColumn(frame, config.rating, name)
    number = _read_numbers(column)
    if config.rating_range is not None:
        low, high = config.rating_range
        column.refuse(
            (number < low) | (number > high),
            f"has a rating outside of 'rating_range', [{low:g}, {high:g}], in",
            'correct or drop it, or widen the range',
        )
    if repeated.any():
        raise ValueError(
            f"'{name}' rates a pair for the second time in "
            f'{where(frame, repeated, *columns)}; keep one, for instance by '
            f".drop_duplicates({columns}, keep='last')"
        )
    return Ratings(*ids, number, column)


def _read_numbers(table: TableColumn) -> np.ndarray:
    check_columns(table.frame, table.name, [table.column])
    cells = table.frame[table.column]
    number = pd.to_numeric(cells, errors='coerce').astype(float)
    number = number.to_numpy(float, na_value=np.nan)
    is_odd = np.full(len(cells), cells.dtype.kind in 'mM')
    if cells.dtype == object:  # a truth value among numbers
        is_bool = np.array([isinstance(cell, bool) for cell in cells], bool)
        is_odd = is_bool & ~is_bool.all()
    table.refuse(
        ~np.isfinite(number) | is_odd,
        'has no finite number in',
        'correct or drop it',
    )
    return number


def _read_weights(frame: pd.DataFrame, column: str | None, name: str) -> np.ndarray:
    """Positive numbers, 1 each where there is no column of them."""
    if column is None:
        return np.ones(len(frame))
    table = TableColumn(frame, column, name)
    weight = _read_numbers(table)
    table.refuse(weight <= 0, 'has no positive weight in', 'drop the row')
    return weight


def read_pairs(
    frame: pd.DataFrame,
    name: str,
    config: ColumnsConfig,
    ids: Mapping[str, Vocabulary],
) -> np.ndarray:
    """The rows of users and items in :obj:`ids`, :obj:`[2, R]`, of a table of pairs."""
    return _rows([read_ids(frame, c, name) for c in (config.user, config.item)], ids)


def read_distinct(given: Any, name: str, column: str) -> IdColumn:
    """The ids of a table or a list, which must be distinct; ``ValueError`` if not."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(
            f"'{name}' must be a table or a list of ids (got {given!r}); write "
            f'[{given!r}]'
        )
    if not isinstance(given, pd.DataFrame):
        given = pd.DataFrame({column: pd.Series(list(given), dtype=object)})
    ids = read_ids(given, column, name)
    ids.vocabulary()
    return ids


def read_new_nodes(
    frame: pd.DataFrame | None,
    side: str,
    config: ColumnsConfig,
    known: Vocabulary,
    encoders: Sequence[AttributeEncoder],
) -> tuple[np.ndarray, list[TokenBags]] | None:
    """New ids of a table, and their attributes by each encoder; None if none is new.

    Of a table of ids alone, all attributes are missing. Else a lacking column is an
    error: perhaps it has another name. The encoders are of the same columns.
    """
    if frame is None:
        return None
    column = getattr(config, side)
    ids = read_distinct(frame, f'{side}s', column)
    new = known.rows(ids) < 0
    if not new.any():
        return None
    frame = frame[new]
    if frame.columns.tolist() == [column]:
        frame = frame.reindex(columns=[*encoders[0].columns])
    # The last encoder knows all values, also the rare ones.
    columns = encoders[-1].parse(frame, f'{side}s')
    return ids.values[new], [e.transform(columns) for e in encoders]


def with_titles(
    frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame | None]
) -> pd.DataFrame:
    """Adds to columns of ids the titles that tables have, if they have any."""
    for column, table in tables.items():
        titles = [] if table is None else [c for c in table if str(c).lower() in TITLES]
        if titles and column in frame:
            known = table.drop_duplicates(column).set_index(column)[titles[0]]
            place = frame.columns.get_loc(column) + 1
            frame.insert(place, f'{column} {titles[0]}', frame[column].map(known))
    return frame


def _bounded(train: Ratings) -> np.ndarray:
    """Ratings, those far from all others moved to these, with a warning.

    One rating of 99 among stars would set the scale of all, and squared errors would
    be those of the tail of counts. Far is beyond three times the spread of the other
    values, and in the outer hundredth if that is ten times as wide as the middle half;
    of values that few ratings have, beyond half of the spread of the others.
    """
    rating, column = train.rating, train.column
    kept = _without_strays(rating)
    while len(kept) > 3:
        cut = max(1, len(kept) // 200)
        low, high = kept[cut], kept[-1 - cut]
        near = (kept >= 4 * low - 3 * high) & (kept <= 4 * high - 3 * low)
        if low == high or near.all():
            break
        kept = kept[near]
    inside = rating[(rating >= kept[0]) & (rating <= kept[-1])]
    low, left, right, high = np.quantile(inside, [0.005, 0.25, 0.75, 0.995])
    if 0 < 10 * (right - left) < high - low:
        kept = kept[(kept >= low) & (kept <= high)]
    far = (rating < kept[0]) | (rating > kept[-1])
    column.remark(
        far,
        f'has ratings far from all others, which count as {kept[0]:g} or '
        f'{kept[-1]:g}, in',
        f"drop or correct them, name 'rating_range', ({rating.min():g}, "
        f'{rating.max():g}), if they are meant, or fit on logarithms of counts',
    )
    is_unrated = len(kept) > 3 and kept[0] == -1 and kept[1] > 0
    column.remark(
        is_unrated & (rating == -1),
        'has -1 and no other rating below 0 in',
        f"drop the rows if it means 'not rated', or name 'rating_range', "
        f'({kept[0]:g}, {kept[-1]:g})',
    )
    return rating.clip(kept[0], kept[-1])


def _without_strays(rating: np.ndarray) -> np.ndarray:
    """The values of ratings, without outer ones that are rare and far from others."""
    value, count = np.unique(rating, return_counts=True)
    is_rare = (200 * count <= len(rating)) | ((count == 1) & (len(rating) >= FEW_ROWS))
    first, last = 0, len(value) - 1
    while last - first > 2:
        low, high = value[first], value[last]
        if is_rare[last] and high - value[last - 1] > (value[last - 1] - low) / 2:
            last -= 1
        elif is_rare[first] and value[first + 1] - low > (high - value[first + 1]) / 2:
            first += 1
        else:
            break
    return value[first : last + 1]


def bounded_weights(given: Ratings, known: Sequence[float] = ()) -> np.ndarray:
    """Weights, a few that are nearly all of their sum bounded, with a warning.

    Their mean is the unit of weights, in which the others would be nothing. A few are
    those above the widest gap, as a ratio, in the largest hundredth. Weights that are
    known already, from a fit, count among all of these.
    """
    weight = given.rating
    every = np.concatenate([known, given.rating])
    top = np.sort(every)[-2 - len(every) // 100 :]
    bound = top[np.argmax(top[1:] / top[:-1])] if len(every) > MANY else top[-1]
    far = weight > bound
    if weight[far].sum() <= 0.9 * every.sum():
        return weight
    warn(
        f"'ratings' has weights, or counts of repeated pairs, far above all others in "
        f'{where(given.user.frame, far, given.user.column, given.item.column)}, which '
        f'count as {bound:g}; drop or correct them',
    )
    return weight.clip(max=bound)


def _warn_of_unread(frame: pd.DataFrame, name: str, means: str) -> None:
    """Warns of counts, and of ratings or outcomes that not all rows share, unread."""
    for column, cells in frame.items():
        letters = re.sub('[^a-z]', '', str(column).lower())
        if letters in ('rating', 'ratings', 'stars'):
            number = pd.to_numeric(cells, errors='coerce')
            is_odd = number.min() < number.max() / 2
            remedy = "keep the rows that users liked, or name it in 'rating'"
        elif OUTCOMES.fullmatch(letters):
            is_odd = cells.astype(str).nunique() > 1
            remedy = 'keep the rows that are positives'
        else:
            is_odd = COUNTS.fullmatch(letters) and cells.astype(str).nunique() > 1
            verb = 'rename it to' if name.endswith('edges') else 'name it in'
            remedy = f"{verb} 'weight', or leave it out"
        if not is_odd:
            continue
        warn(
            f"'{name}' has a column '{column}' (such as {shown(cells.iloc[0])}), which "
            f'is not read, and {means}; {remedy}'
        )


def _read_nodes(
    config: ColumnsConfig,
    side: str,
    frame: pd.DataFrame | None,
    rated: IdColumn,
    further: Sequence[IdColumn] = (),
) -> NodeTable:
    """The nodes of a table; without one, those rated in training and further ones."""
    attributes = getattr(config, f'{side}_attributes')
    if frame is not None:
        ids = read_ids(frame, getattr(config, side), f'{side}s').vocabulary()
        if not len(ids):
            raise ValueError(f"'{side}s' has no rows; leave it out, or give it some")
        columns = _read_attributes(frame, side, config)
        return NodeTable(ids, columns or [constant_column(len(ids))], True)
    if attributes:
        raise ValueError(
            f"'{side}_attributes' names columns, but there is no table '{side}s'; "
            f'pass one'
        )
    rated.warn_of_spaces()
    ids = Vocabulary.from_ids(rated)
    for more in further:
        more.warn_of_spaces(ids.values)
        is_new = ids.rows(more) < 0
        more.remark(  # validation may be of other users
            is_new & is_new.all() & more.name.endswith('edges'),
            f'has no id of a {side} that is known in',
            f'name the columns of {side}s first',
        )
        ids = ids.append(pd.unique(more.values[ids.rows(more) < 0]))
    return NodeTable(ids, [constant_column(len(ids))], False)


def _read_attributes(
    frame: pd.DataFrame, side: str, config: ColumnsConfig
) -> list[ParsedColumn]:
    """The attributes that are named, or all that can mean something."""
    name = f'{side}s'
    attributes = getattr(config, f'{side}_attributes')
    if attributes is not None:
        if not isinstance(attributes, Mapping):
            attributes = dict.fromkeys(attributes)
        return [parse_column(frame, c, stype, name) for c, stype in attributes.items()]
    kept = []
    dropped = []
    convert = ''
    for column in frame.columns.drop(getattr(config, side)):
        try:
            cells = parse_column(frame, column, name=name)
        except CellTypeError:
            problem, seems = 'neither numbers, texts nor dates', None
        else:
            problem, seems = _problem(cells), _seems(cells)
        if problem:
            dropped.append(f'{column} ({seems or problem})')
            convert = 'convert it, or ' if seems else convert
        else:
            kept.append(cells)
            if seems:
                warn(
                    f"Column '{column}' of '{name}' holds {seems}; each text counts as "
                    f"a category; convert it, or name it in '{side}_attributes'",
                )
    if dropped:
        warn(
            f"Columns of '{name}' left out: {', '.join(dropped)}; to keep one, "
            f"{convert}name it in '{side}_attributes', with a type such as 'text' for "
            f'descriptions',
        )
    return kept


def _seems(cells: ParsedColumn) -> str | None:
    """What at least half of the texts of a column seem to be, except categories."""
    size = len(cells.value[:1000])
    texts = [v for v in cells.value[:1000] if isinstance(v, str)]
    for pattern, text in TEXTS.items():
        found = [*filter(re.compile(pattern).fullmatch, texts)]
        if found and 2 * len(found) >= size:
            return f'{text} such as {found[0]!r}'
    if len({*texts}) > MANY and 2 * sum(map(bool, map(WHOLE.fullmatch, texts))) >= size:
        return f'numbers as texts such as {texts[0]!r}'
    return _seem_lists(texts, size)


def _seem_lists(texts: Sequence[str], num_values: int) -> str | None:
    """What texts seem to be if at least half of the values have commas or slashes.

    Lists take their parts from a few in any order, unlike cities with their countries.
    """
    several = [text for text in texts if PARTS.fullmatch(text)]
    if 2 * len(several) < max(1, num_values):
        return None
    places: dict[str, set[int]] = {}
    for text in texts:
        for place, part in enumerate(re.split('[,/]', text)):
            places.setdefault(part.strip(), set()).add(place)
    moved = sum(len(found) > 1 for found in places.values())
    if len(places) >= len({*texts}) or 4 * moved < len(places):
        return None
    separator = ',' if ',' in several[0] else '/'
    how = f'.str.split({separator!r}) or --lists reads'
    return f'lists as texts, which {how}, such as {several[0]!r}'


def _problem(cells: ParsedColumn) -> str | None:
    """Why a column cannot be an attribute, as far as its cells show."""
    if not len(cells.value):
        return 'nothing in it'
    if cells.stype in ('vector', 'date'):
        return None
    value = pd.Series(cells.value)
    if cells.stype == 'numeric':
        is_code = (value % 1 == 0).all() and len(value) > MANY and value.is_unique
        return 'whole numbers that are all different' if is_code else None
    if all(isinstance(v, bool | np.bool_) for v in value.unique()):
        return None
    repeated = value.duplicated(keep=False).to_numpy()
    shared, present = len({*cells.row[repeated]}), len({*cells.row})
    return None if 2 * shared >= present else 'most values occur once'


def _rows(columns: Iterable[IdColumn], ids: Mapping[str, Vocabulary]) -> np.ndarray:
    sides = zip(SIDES, columns, strict=True)
    return np.stack([c.check_known(ids[s].rows(c), f'{s}s') for s, c in sides])
