"""What in a table is perhaps not what it seems: strays, unread columns, texts.

Nothing here is an error for sure, so there are warnings, and bounds of what is far off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from agnn_pyg.base.checks import TableColumn, shown, warn, where
from agnn_pyg.base.columns import FROM_NUMPY, ISO_DATE, MANY, ParsedColumn
from agnn_pyg.base.vocabulary import IdColumn

# Ratings of which a single one may be mistyped.
FEW_ROWS = 50
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
MONTHS = 'Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec'
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
    r'\[np\.\w+\(.*\]': f'lists as texts, which {FROM_NUMPY} or --lists reads,',
    r'\{[^\'":]*\}': (
        "lists as texts, which .str[1:-1].str.split(',') or --lists reads,"
    ),
    r'\[[A-Za-z_][^\'"]*\]': "lists as texts, which .str[1:-1].str.split(',') reads,",
    r'\[.*\]|\(.*\)|\{[^:]*\}': (
        'lists as texts, which .map(ast.literal_eval) or --lists reads,'
    ),
    r'\d{1,4}([./-])\d\d?\1\d{1,4}\b.*|\d{4}-\d\d'
    rf'|(\d\d? )?({MONTHS})[a-z]* (\d\d?, )?\d{{4}}': (
        'dates as texts, not like 1999-12-31,'
    ),
    r"(?=.*\d[., ']\d)\D{0,4}(\d{1,3}([., ']\d{3})+|\d+)([.,]\d+)?\s?[^\W\d]{0,8}\W?": (
        'numbers as texts'
    ),
}
# A whole number, perhaps of money or with a unit; codes have more digits.
WHOLE = re.compile(r'[$€£¥]?\s?[1-9]\d{0,3}\s?[A-Za-z$€£¥%]{0,8}')
# What may be a list in a text, with commas or slashes.
PARTS = re.compile(r'[^,/[]{1,24}([,/] ?[^,/]{1,24})+')


def bounded_ratings(rating: np.ndarray, column: TableColumn) -> np.ndarray:
    """Ratings, those far from all others moved to these, with a warning.

    One rating of 99 among stars would set the scale of all, and squared errors would
    be those of the tail of counts. Far is beyond three times the spread of the other
    values, and in the outer hundredth if that is ten times as wide as the middle half;
    of values that few ratings have, beyond half of the spread of the others.
    """
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
    column.remark(
        (rating == kept[0]) & _may_be_unrated(kept, rating),
        f'has many ratings of {kept[0]:g}, and all others above 0, in',
        f"drop the rows if it means 'not rated', or name 'rating_range', "
        f'({kept[0]:g}, {kept[-1]:g})',
    )
    return rating.clip(kept[0], kept[-1])


def _may_be_unrated(values: np.ndarray, rating: np.ndarray) -> bool:
    """Whether the lowest value is perhaps a mark: -1, or 0 more often than the next."""
    if len(values) < 4 or values[1] <= 0:
        return False
    lowest, second = ((rating == value).sum() for value in values[:2])
    return values[0] == -1 or (values[0] == 0 and lowest > 2 * second)


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


def bounded_weights(
    weight: np.ndarray, user: IdColumn, item: IdColumn, known: Sequence[float] = ()
) -> np.ndarray:
    """Weights, a few that are nearly all of their sum bounded, with a warning.

    Their mean is the unit of weights, in which the others would be nothing. A few are
    those above the widest gap, as a ratio, in the largest hundredth. Weights that are
    known already, from a fit, count among all of these.
    """
    every = np.concatenate([known, weight])
    top = np.sort(every)[-2 - len(every) // 100 :]
    bound = top[np.argmax(top[1:] / top[:-1])] if len(every) > MANY else top[-1]
    far = weight > bound
    if weight[far].sum() <= 0.9 * every.sum():
        return weight
    warn(
        f"'ratings' has weights, or counts of repeated pairs, far above all others in "
        f'{where(user.frame, far, user.column, item.column)}, which '
        f'count as {bound:g}; drop or correct them',
    )
    return weight.clip(max=bound)


def warn_of_unread(frame: pd.DataFrame, name: str, means: str) -> None:
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


def seems(cells: ParsedColumn) -> str | None:
    """What at least half of the texts of a column seem to be, except categories."""
    size = len(cells.value[:1000])
    texts = [v for v in cells.value[:1000] if isinstance(v, str)]
    others = [text for text in texts if not ISO_DATE.fullmatch(text)]
    if 0 < 2 * len(others) <= len(texts) == size:
        return f'dates as texts, and others that are none, such as {others[0]!r}'
    for pattern, text in TEXTS.items():
        found = [*filter(re.compile(pattern).fullmatch, texts)]
        if found and 2 * len(found) >= size:
            return f'{text} such as {found[0]!r}'
    found = [*filter(WHOLE.fullmatch, texts)]
    if len({*texts}) > MANY and 2 * len(found) >= size:
        return f'numbers as texts such as {found[0]!r}'
    spellings: dict[str, str] = {}
    for text in texts:
        other = spellings.setdefault(text.casefold(), text)
        if other != text:
            return f'texts that differ in case alone, such as {other!r} and {text!r}'
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


def problem_of(cells: ParsedColumn) -> str | None:
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
