"""Warnings of unusual data: outliers, unused columns, badly typed attributes.

The data may be as intended, so nothing here raises; outliers are clipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from agnn_pyg.base.cells import ISO_DATE, MANY, ParsedColumn
from agnn_pyg.base.checks import TableColumn, shown, warn

# The fewest ratings for checks of single ones.
FEW_ROWS = 50
# The only rating of an outer value may be a typo if the next value has this many
# ratings; the second number is for the value 0.
MANY_RATINGS, MANY_BESIDE_ZERO = 100, 30
# The maximum number of rows in which columns of attributes are looked for.
MOST_READ = 100_000
# The least fraction of the ratings, and the fewest distinct values, of each of two
# scales.
LEAST_SHARE, LEAST_VALUES = 0.05, 3
# Names, in lower-case letters, of columns that may hold weights of positives or edges,
# or labels that tell positives from negatives.
UNREAD = re.compile(
    '(n|num|total)?(weights?|counts?|quantity|qty|units|pieces|amount|plays?|views'
    '|clicks|orders|times|seconds|minutes|hours|duration)'
    '(bought|ordered|listened|played|watched|eur|usd)?'
    '|(click|play|listen|view|watch|order|purchase)counts?'
    '|ratings?|stars|(is)?(click(ed)?|purchased?|liked?)|label|target|event(type)?'
    '|action(type)?|type|kind|status|returned'
)
# Values that may mark rows that are no positives.
NEGATIVE = {'no', 'false', 'returned', 'refunded', 'cancelled', 'canceled', 'failed'}
# The least rank correlation at which a column follows a statistic of the ratings.
FOLLOWS = 0.9
# Last words of names of columns whose whole numbers may be codes.
CODED = {
    *('id', 'code', 'zip', 'zipcode', 'postcode', 'category', 'cat', 'class', 'type'),
    *('kind', 'brand', 'publisher', 'author', 'artist', 'seller', 'vendor', 'supplier'),
    *('shop', 'store', 'shelf', 'city', 'region', 'country', 'state', 'genre'),
    *('department', 'segment', 'cluster', 'group', 'owner', 'host', 'provider'),
}
# Numbers, and days since 1970, that often stand for missing values. The check needs
# more than FEW_OTHERS other values.
PLACEHOLDERS = {
    'numeric': {-1, *(s * (10**n - 1) for n in range(10) for s in (-1, 1))},
    'date': {-719162, -25567, 0, 2932896},  # of the years 1, 1900, 1970 and 9999
}
FEW_OTHERS, STRAY = 4, 10
MONTHS = 'Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec'
# Patterns of texts that are probably no categories.
TEXTS = {
    'dates as texts, not like 1999-12-31, which pandas.to_datetime reads': (
        r'\d{1,4}([./-])\d\d?\1\d{1,4}\b.*|\d{4}-\d\d'
        rf'|(\d\d? )?({MONTHS})[a-z]* (\d\d?, )?\d{{4}}'
    ),
    'numbers as texts': (
        r"([A-Z]{3}|[$€£¥~])?\s?(\d{1,3}([., ']\d{3})+|\d+)([.,]\d+)?"
        r'\s?[^\W\d]{0,8}[23\W]?'
    ),
    'durations or times of day as texts': r'\d{1,3}:\d\d(:\d\d)?',
    'lists as texts, which as_lists of agnn_pyg.base.io or --lists reads': (
        r'\[.*\]|\(.*\)|\{[^:]*\}'
    ),
}


def bounded_ratings(rating: np.ndarray, column: TableColumn) -> np.ndarray:
    """Clips ratings far from all others, with a warning.

    A rating of 99 among stars would set the scale. In counts, the tail would dominate
    squared errors, so the outer hundredth is clipped, too, if it spans ten times the
    interquartile range.
    """
    kept = _without_strays(rating)
    inside = rating[(rating >= kept[0]) & (rating <= kept[-1])]
    low, left, right, high = np.quantile(inside, [0.005, 0.25, 0.75, 0.995])
    if 0 < 10 * (right - left) < high - low:
        kept = kept[(kept >= low) & (kept <= high)]
    column.remark(
        (rating < kept[0]) | (rating > kept[-1]),
        f'has ratings far from others, clipped to [{kept[0]:g}, {kept[-1]:g}], in',
        f'drop or correct them, fit on logarithms of counts, or, if they are right, '
        f"pass 'rating_range', ({rating.min():g}, {rating.max():g})",
    )
    meant = f"if they are right, pass 'rating_range', ({kept[0]:g}, {kept[-1]:g})"
    column.remark(
        (rating == 1) & _are_counts(rating),
        'seems to hold counts, most of them 1, in',
        "if so, fit with rating=None and set 'weight' to this column",
    )
    for value, following in (kept[:2], kept[:-3:-1]) if len(kept) > 3 else ():
        mine, other = rating == value, rating == following
        least = MANY_BESIDE_ZERO if value == 0 else MANY_RATINGS
        is_lone = mine.sum() == 1 and other.sum() >= least
        gaps = np.sort(np.diff(kept))
        is_gap = abs(following - value) > 1.5 * gaps[-2]
        is_gap &= len(rating) >= FEW_ROWS and len(kept) <= MANY
        problem = f'has ratings of {value:g}, and none between it and {following:g}, in'
        if is_lone:
            problem = f'has the only rating of {value:g} in'
        remedy = f'drop or correct typing errors, or, {meant}'
        column.remark(mine & (is_lone or is_gap), problem, remedy)
        # -1, or a 0 as frequent as the next value, may mean 'not rated'.
        is_mark = value < following and not is_lone
        is_mark &= value == -1 or mine.sum() >= other.sum()
        column.remark(
            mine & (is_mark and value <= 0 < following),
            f'has many ratings of {value:g}, and all others above 0, in',
            f"drop the rows if it means 'not rated', or, {meant}",
        )
    for low, high in _two_scales(rating, kept):
        column.remark(
            rating >= high,
            f'has ratings of perhaps two scales, none between {low:g} and {high:g}, in',
            f'convert all to one scale, or, {meant}',
        )
    return rating.clip(kept[0], kept[-1])


def warn_of_range(rating: np.ndarray, bounds: tuple[float, float]) -> None:
    """Warns if all ratings lie in one half of the given range."""
    low, high = rating.min(), rating.max()
    if len(rating) >= FEW_ROWS and not low < np.mean(bounds) < high:
        warn(
            f"'rating_range' is {bounds}, but all ratings are in [{low:g}, {high:g}]; "
            f'correct it, or convert the ratings, unless both are right'
        )


def _are_counts(rating: np.ndarray) -> bool:
    """Whether ratings look like counts: many 1s, fewer 2s, and so on."""
    value, count = np.unique(rating, return_counts=True)
    falls = value[:4].tolist() == [1, 2, 3, 4] and (np.diff(count[:4]) < 0).all()
    return falls and len(rating) >= FEW_ROWS and count[0] > 0.4 * len(rating)


def _two_scales(rating: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values around a gap that separates two scales of ratings, [1 or 0, 2].

    If the scales overlap, such as 1 to 5 and 2 to 10, it is the first of at least two
    gaps that are twice as wide as all gaps before.
    """
    pairs = np.stack([values[:-1], values[1:]], axis=1)
    share = 1 - np.searchsorted(np.sort(rating), values[1:]) / len(rating)
    place = np.arange(1, len(values))
    is_many = np.minimum(share, 1 - share) >= LEAST_SHARE
    low, high = pairs.T
    gap = high - low
    is_before = np.maximum.accumulate(gap) == gap[:1]
    is_wide = ~is_before & (gap == 2 * gap[:1])
    is_double = (is_before | is_wide).all() and min(is_before.sum(), is_wide.sum()) > 1
    is_apart = (low > 0) & (high >= 2 * low) & (gap > low - values[0])
    is_apart &= np.minimum(place, len(values) - place) >= LEAST_VALUES
    is_apart |= is_wide & is_double & (len(values) <= MANY)
    return pairs[is_many & is_apart & (len(rating) >= FEW_ROWS)][:1]


def _without_strays(rating: np.ndarray) -> np.ndarray:
    """The distinct ratings without outer ones that are far from the others."""
    value, count = np.unique(rating, return_counts=True)
    is_rare = (200 * count <= len(rating)) | ((count == 1) & (len(rating) >= FEW_ROWS))
    factor = np.where(is_rare, 0.5, 3.0)
    first, last = 0, len(value) - 1
    while last - first > 2:
        low, left, right, high = value[[first, first + 1, last - 1, last]]
        if high - right > factor[last] * (right - low):
            last -= 1
        elif left - low > factor[first] * (high - left):
            first += 1
        else:
            break
    return value[first : last + 1]


def bounded_weights(
    weight: np.ndarray, pair: TableColumn, known: Sequence[float] = ()
) -> np.ndarray:
    """Clips a few weights that make up most of the sum of weights, with a warning.

    The mean is the unit of weights; without clipping, all others would be near 0. The
    few are single rows, or all rows of some users or items, such as bots. Weights of an
    earlier fit, :obj:`known`, are included in the sum.
    """
    if not len(weight):
        return weight
    every = np.concatenate([known, weight])
    masks = [weight > _last_before_a_gap(every)]
    for column in pair.column:
        code, ids = pd.factorize(pair.frame[column])
        total = np.bincount(code, weight, len(ids))
        masks.append((total > _last_before_a_gap(total))[code])
    for far in masks:
        if weight[far].sum() > 0.9 * every.sum():
            bound = np.concatenate([known, weight[~far]]).max()
            pair.remark(
                far & (weight > bound),
                f'has weights, or counts of repeated pairs, far above all others, '
                f'clipped to {bound:g}, in',
                'drop or correct them',
            )
            return weight.clip(max=bound)
    return weight


def _last_before_a_gap(value: np.ndarray) -> float:
    """The value below the largest ratio of successive values in the top hundredth."""
    top = np.sort(value)[-2 - len(value) // 100 :]
    return top[np.argmax(top[1:] / top[:-1])] if len(value) > MANY else top[-1]


def warn_of_unread(frame: pd.DataFrame, name: str, means: str) -> None:
    """Warns of unused columns that may hold weights or labels, and of the effect."""
    for column, cells in frame.items():
        letters = re.sub('[^a-z]', '', str(column).lower())
        number = pd.to_numeric(cells, errors='coerce')
        # A column of zeros and ones may hold labels, whatever its name.
        is_weight = bool(UNREAD.fullmatch(letters)) or number.isin([0, 1]).all()
        if number.notna().all():
            varies = number.min() < number.max() / 2
            is_count = number.min() == 1 and (number % 1 == 0).all()
            is_count = is_count and number.mode()[0] == 1
            is_weight = is_weight or is_count or name.endswith('edges')
        else:
            values = {*cells.astype(str).str.lower()}
            varies = len(values) > 1
            is_few = len(values) <= MANY
            is_weight = is_weight or (is_few and not NEGATIVE.isdisjoint(values))
        if varies and is_weight:
            warn(
                f"'{name}' has a column '{column}' (such as {shown(cells.iloc[0])}), "
                f'which is not used: {means}'
            )


def warn_of_joined(
    ratings: pd.DataFrame, side: str, columns: Mapping[str, str | None]
) -> None:
    """Warns of attributes of users or items in the table of ratings, which are unused.

    They are columns with one value for each node, and several values in all.
    """
    ids = ratings[columns[side]].iloc[:MOST_READ]
    others = ratings.iloc[:MOST_READ].drop(columns=[*columns.values()], errors='ignore')
    texts = others.astype(str)
    is_joined = (texts.groupby(ids.to_numpy()).nunique() == 1).all()
    found = others.columns[(is_joined & (texts.nunique() > 1)).to_numpy()]
    if len(found) and ids.duplicated().mean() > 0.5:
        warn(
            f"'ratings' has columns with one value per {side}, which are not used: "
            f'{", ".join(map(str, found))}; if they are attributes, pass them in a '
            f"table '{side}s', with one row per {side}"
        )


def warn_of_statistics(
    columns: Sequence[ParsedColumn], row: np.ndarray, rating: np.ndarray
) -> None:
    """Warns of attributes that follow the mean or the number of ratings of nodes.

    New nodes lack these statistics, so predictions for them would be worse. :obj:`row`
    is the node of each rating, and :obj:`rating` its value, both :obj:`[R]`.
    """
    rated = pd.Series(rating).groupby(row)
    mean, count = rated.mean(), rated.size()
    if (count >= count.median()).sum() > MANY:  # means of few ratings are noise
        mean = mean[count >= count.median()]
    statistics = {'mean rating': mean, 'number of ratings': count}
    for cells in columns:
        if cells.stype != 'numeric' or len(np.unique(cells.value)) < 3:
            continue
        value = pd.Series(cells.value, cells.row)
        for what, statistic in statistics.items():
            both = pd.concat([value, statistic], axis=1, join='inner')
            if len(both) <= MANY or both.nunique().min() < 2:
                continue
            correlation = both.corr('spearman').iloc[0, 1]
            if abs(correlation) >= FOLLOWS:
                warn(
                    f"Column '{cells.column}' of '{cells.name}' follows the {what} of "
                    f'each row (rank correlation {correlation:.2f}); leave it out if '
                    f'it was computed from ratings, which new {cells.name} lack'
                )


def warn_of_numbers(cells: ParsedColumn) -> None:
    """Warns of numbers that may be codes, and of numbers and dates that may be missing.

    The name of the column suggests codes. An extreme value may mean missing if it is a
    usual placeholder and either far from all others or the only negative one. A single
    value is probably an error if it is STRAY times the range of all others away.
    """
    words = re.findall('[A-Z]?[a-z]+|[A-Z]+', str(cells.column))
    is_coded = bool(words) and words[-1].lower() in CODED
    value = cells.value
    values = np.unique(value) if cells.stype in PLACEHOLDERS else []
    if len(values) <= 2:
        return
    if cells.stype == 'numeric' and is_coded and (value % 1 == 0).all():
        warn(
            f"Column '{cells.column}' of '{cells.name}' holds whole numbers, such as "
            f'{values[0]:.0f}, read as quantities; if they are codes, convert them to '
            f'texts, .astype(str)'
        )
    for outer, others in ((values[0], values[1:]), (values[-1], values[:-1])):
        low, high = others[0], others[-1]
        beyond = max(low - outer, outer - high)
        is_far = beyond > high - low or outer < 0 <= low
        # Many zeros, and no other value near them; 0 may also be a first level.
        is_zero = outer == 0 and cells.stype == 'numeric'
        is_zero &= bool(5 * low > high - low and low > np.median(np.diff(others)))
        is_far |= is_zero and (value == 0).mean() > 0.05
        is_far &= outer in PLACEHOLDERS[cells.stype]
        is_far |= (value == outer).sum() == 1 and beyond > STRAY * (high - low)
        if is_far and len(others) > FEW_OTHERS:
            text = f'{outer:.12g}'
            if cells.stype == 'date':
                text = str(np.datetime64(0, 'D') + int(outer))
            warn(
                f"Column '{cells.column}' of '{cells.name}' holds {text} in "
                f'{(value == outer).sum():,} of {len(value):,} cells, far from all '
                f'others; correct it, or, if it means missing, leave these cells empty'
            )


def seems(cells: ParsedColumn) -> str | None:
    """What most texts of a column seem to be, if not categories."""
    values = cells.value[:1000]
    texts = [v for v in values if isinstance(v, str)]
    # Texts of digits may be codes; in lists they are.
    is_coded = cells.stype == 'multi' or any(re.fullmatch(r'0\d+', t) for t in texts)
    for what, pattern in TEXTS.items():
        found = [*filter(re.compile(pattern).fullmatch, texts)]
        found = [text for text in found if not (is_coded and text.isdigit())]
        few = 'numbers' in what and len({*texts}) <= MANY
        few = few and not any(re.search(r'\d[.,]\d', text) for text in found)
        if found and 2 * len(found) >= len(values) and not few:
            # Show a text that is not an ISO date: formats may be mixed.
            odd = (text for text in found if not ISO_DATE.fullmatch(text))
            return f'{what}, such as {next(odd, found[0])!r}'
    for separator in '|;,/':
        found = [text for text in texts if separator in text]
        parts = {part.strip() for text in texts for part in text.split(separator)}
        # Lists combine few distinct parts, unlike 'city, country', with a few words
        # each, unlike sentences.
        is_list = len(parts) <= len({*texts})
        is_list &= 2 * sum(part.count(' ') > 3 for part in parts) < len(parts)
        if 10 * len(found) >= max(1, len(values)) and is_list:
            return (
                f'lists as texts, which as_lists(cells, {separator!r}) of '
                f'agnn_pyg.base.io or --lists reads, such as {found[0]!r}'
            )
    spellings: dict[str, str] = {}
    for text in texts:
        other = spellings.setdefault(text.casefold(), text)
        if other != text:
            return (
                f'texts that differ only in case, such as {other!r} and {text!r} '
                f'(.str.lower() writes them alike)'
            )
    return None


def problem_of(cells: ParsedColumn) -> str | None:
    """Why the cells of a column are of no use as an attribute, or None."""
    if not len(cells.value):
        return 'no values'
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
    if 2 * shared >= present:
        return None
    few = f'{present:,} of {cells.num_rows:,} cells have values, and '
    return f'{few if 2 * present < cells.num_rows else ""}most values occur once'
