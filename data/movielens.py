"""MovieLens-100K with film attributes, its published splits, and MovieLens-1M."""

from __future__ import annotations

import csv
import io
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from data.archives import open_zip, read_member
from data.fetch import fetch, fetch_wheel
from data.splits import Split, given_split
from data.tables import RatingTables

PathLike = str | os.PathLike

# The wheel includes the ratings as sample data. Their licence forbids redistribution,
# so they are fetched from the wheel and never stored in this repository.
REQUIREMENT = 'recbole==1.2.1'
WHEEL = 'recbole-1.2.1-py3-none-any.whl'
WHEEL_SHA256 = '9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407'
ADDRESS = 'https://files.grouplens.org/datasets/movielens/'
# The first is GroupLens' MD5. The second is of another zip file with the same members
# that a mirror may hold.
ML100K_CHECKSUMS = (
    'md5:0e33842e24a9c977be4e0107933c0723',
    'sha256:aa29da2afdb0a7a67f241687d5bbdb4be0bdf284656154dd805f9cad27999ecd',
)
ML1M_SHA256 = 'a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20'

RATINGS = ('user', 'item', 'rating', 'timestamp')
# Numeric columns. Zip codes are text: some have letters or a leading zero.
NUMBERS = dict.fromkeys(('user', 'item', 'timestamp', 'age'), 'int64')
NUMBERS |= {'rating': 'float64'}
MEMBER = 'recbole/dataset_example/ml-100k/ml-100k.{}'
# Members of the wheel: their headers, and our names for the columns.
HEADERS = {
    'inter': 'user_id:token item_id:token rating:float timestamp:float',
    'user': 'user_id:token age:token gender:token occupation:token zip_code:token',
    'item': 'item_id:token movie_title:token_seq release_year:token class:token_seq',
    'link': 'item_id:token entity_id:token',
    'kg': 'head_id:token relation_id:token tail_id:token',
}
COLUMNS = {
    'inter': RATINGS,
    'user': ('user', 'age', 'gender', 'occupation', 'zip_code'),
    'item': ('item', 'title', 'year', 'genre'),
    'link': ('item', 'film'),
    'kg': ('film', 'relation', 'value'),
}
# Item attributes by their relation in the film graph.
RELATIONS = {
    'film.film.directed_by': 'director',
    'film.film.written_by': 'writer',
    'film.film.actor': 'star',
    'film.film.country': 'country',
    'film.film.language': 'language',
    'film.film.production_companies': 'company',
}
# The source takes the year from the last brackets of a title. One item has the title
# 'unkonwn', and one ends in '(V)', which marks a film made for video.
NO_YEAR = ('unkonwn', 'V')
NO_GENRE = 'unknown'

ML1M_COLUMNS = {
    'users': ('user', 'gender', 'age', 'occupation', 'zip_code'),
    'movies': ('item', 'title', 'genre'),
    'ratings': RATINGS,
}
# Names of the codes 0 to 20, from the README of MovieLens-1M.
OCCUPATIONS = (
    *('other', 'academic/educator', 'artist', 'clerical/admin'),
    *('college/grad student', 'customer service', 'doctor/health care'),
    *('executive/managerial', 'farmer', 'homemaker', 'K-12 student', 'lawyer'),
    *('programmer', 'retired', 'sales/marketing', 'scientist', 'self-employed'),
    *('technician/engineer', 'tradesman/craftsman', 'unemployed', 'writer'),
)


def load_ml100k(*, cache: PathLike | None = None) -> RatingTables:
    """Loads MovieLens-100K: 100,000 ratings of films, with user and item attributes.

    The wheel is fetched once, its checksum verified, and read in place (see
    :func:`data.fetch.fetch`).

    **users**, sorted by ``user``: ``age`` (years), ``gender``, ``occupation``,
    ``zip_code``. **items**, sorted by ``item``: ``title``, ``year`` (``float``,
    ``NaN`` if unknown), and lists in the order of the source, empty if unknown:
    ``genre``, ``director``, ``writer``, ``star``, ``country``, ``language``,
    ``company``. Except for the genre, list values are ids of Freebase entities.
    **ratings**, in the order of the file: ``rating`` (1 to 5), ``timestamp`` (seconds
    since 1970).

    **STATS:** 943 users, 1,682 items, 100,000 ratings, mean 3.53.

    Items with an attribute, its distinct values and its longest list: ``year``
    1,680, 71; ``genre`` 1,680, 18, 6; ``director`` 1,590, 1,131, 12; ``writer``
    1,336, 1,759, 18; ``star`` 1,565, 27,262, 158; ``country`` 1,593, 68, 10;
    ``language`` 1,588, 92, 8; ``company`` 880, 251, 5.

    Args:
        cache: Folder to keep the wheel in. (default: :func:`data.fetch.cache_dir`)

    Raises:
        DownloadError: If the wheel is neither cached nor downloadable.
    """
    return read_ml100k(fetch_wheel(REQUIREMENT, WHEEL, WHEEL_SHA256, cache=cache))


def read_ml100k(wheel: PathLike) -> RatingTables:
    """Reads the tables of :func:`load_ml100k` from a wheel.

    Raises:
        ValueError: If the file is not a zip, or a member is missing, damaged or lacks a
            column.
    """
    with open_zip(wheel) as archive:
        frames = {}
        for name, header in HEADERS.items():
            columns = dict(zip(header.split(), COLUMNS[name], strict=True))
            frame = _read_text(archive, MEMBER.format(name), columns, header=0)
            frames[name] = frame.rename(columns=columns)
    return RatingTables(
        users=frames['user'].sort_values('user', ignore_index=True),
        items=_ml100k_items(frames['item'], frames['link'], frames['kg']),
        ratings=frames['inter'],
    )


def load_ml100k_split(
    number: int, *, seed: int = 0, cache: PathLike | None = None
) -> Split:
    """Loads one of the five published splits of MovieLens-100K, u1 to u5.

    Four fifths of the ratings are for training and one fifth for the test, as in most
    papers. Validation is a random tenth of the training ratings.

    Args:
        number: Number of the split, 1 to 5.
        seed: Seed of the validation part.
        cache: As in :func:`load_ml100k`, for GroupLens' archive.

    Raises:
        DownloadError: If the archive is neither cached nor downloadable.
        ValueError: If the number is not from 1 to 5.
    """
    url = f'{ADDRESS}ml-100k.zip'
    archive = fetch(url, ML100K_CHECKSUMS, cache=cache)
    return read_ml100k_split(archive, number, seed=seed)


def read_ml100k_split(archive: PathLike, number: int, *, seed: int = 0) -> Split:
    """Reads the split of :func:`load_ml100k_split` from GroupLens' archive."""
    if number not in range(1, 6):
        raise ValueError(f"'number' must be from 1 to 5 (got {number})")
    with open_zip(archive) as file:
        fit, test = (
            _read_text(file, f'ml-100k/u{number}.{part}', RATINGS)
            for part in ('base', 'test')
        )
    test.index += len(fit)
    return given_split(fit, test, 'warm', seed=seed)


def load_ml1m(*, cache: PathLike | None = None) -> RatingTables:
    """Loads MovieLens-1M: a million ratings of films, with user and item attributes.

    The archive is fetched once from GroupLens, its checksum verified, and read in place
    (see :func:`data.fetch.fetch`). Its licence does not allow redistribution.

    **users**: ``gender``, ``age`` (lower bound of a range: 1, 18, 25, 35, 45, 50 or
    56 years), ``occupation``, ``zip_code``. **items**: ``title``, ``year``,
    ``genre`` (a list). **ratings**, in the order of the file: ``rating`` (1 to 5),
    ``timestamp`` (seconds since 1970). All tables keep the source's order.

    **STATS:** 6,040 users, 3,883 items, 1,000,209 ratings.

    Args:
        cache: As in :func:`load_ml100k`.

    Raises:
        DownloadError: If the archive is neither cached nor downloadable.
    """
    return read_ml1m(fetch(f'{ADDRESS}ml-1m.zip', ML1M_SHA256, cache=cache))


def read_ml1m(archive: PathLike) -> RatingTables:
    """Reads the tables of :func:`load_ml1m` from its archive.

    Raises:
        ValueError: If the file is damaged or not a zip, or if a member is missing or
            has another shape.
    """
    with open_zip(archive) as file:
        frames = {
            name: _read_text(
                file, f'ml-1m/{name}.dat', columns, b'::', encoding='latin-1'
            )
            for name, columns in ML1M_COLUMNS.items()
        }
    users, items = frames['users'], frames['movies']
    names = {str(code): name for code, name in enumerate(OCCUPATIONS)}
    odd = users.loc[~users['occupation'].isin(names), 'occupation']
    if len(odd):
        raise ValueError(f"'occupation' must be from 0 to 20 (got {odd.iloc[0]})")
    # The year stands at the end of a title: Toy Story (1995).
    parts = items['title'].str.extract(r'^(?P<title>.*?)\s*(?:\((?P<year>\d{4})\))?$')
    return RatingTables(
        users=users.assign(occupation=users['occupation'].map(names)),
        items=items.assign(
            title=parts['title'],
            year=parts['year'].astype('float64'),
            genre=[[g for g in cell.split('|') if g] for cell in items['genre']],
        ),
        ratings=frames['ratings'],
    )


def _read_text(
    archive: zipfile.ZipFile,
    member: str,
    columns: Mapping[str, str] | Sequence[str],
    separator: bytes = b'\t',
    header: int | None = None,
    **options: str,
) -> pd.DataFrame:
    """Reads columns of a member; a mapping has names in the header and our names."""
    names = columns if isinstance(columns, Mapping) else {c: c for c in columns}
    # Only the slow parser of pandas reads separators of two characters.
    content = read_member(archive, member).replace(separator, b'\t')
    try:
        with warnings.catch_warnings():
            # pandas drops extra fields with a warning; raise an error instead.
            warnings.simplefilter('error', pd.errors.ParserWarning)
            return pd.read_csv(
                io.BytesIO(content),
                sep='\t',
                header=header,
                names=list(columns) if header is None else None,
                usecols=list(columns) if header is not None else None,
                dtype={old: NUMBERS.get(new, 'str') for old, new in names.items()},
                index_col=False,
                quoting=csv.QUOTE_NONE,  # titles contain quotation marks
                na_filter=False,  # and texts such as 'NA' that are not missing
                **options,
            )
    except (ValueError, OverflowError, pd.errors.ParserWarning) as error:
        raise ValueError(
            f"'{member}' must have the columns {', '.join(columns)} ({error}); check "
            f'that {archive.filename} is the right file'
        ) from error


def _ml100k_items(
    items: pd.DataFrame, link: pd.DataFrame, graph: pd.DataFrame
) -> pd.DataFrame:
    items = items.sort_values('item', ignore_index=True)
    year = items['year'].mask(items['year'].isin(NO_YEAR), 'nan')
    try:
        year = year.astype('float64')
    except ValueError as error:
        raise ValueError(
            f"'release_year' must hold years ({error}); check that the file is {WHEEL}"
        ) from error
    genre = items['genre'].mask(items['genre'] == NO_GENRE, '')
    return items.assign(
        year=year,
        genre=genre.str.split(),
        **_film_attributes(items['item'], link, graph),
    )


def _film_attributes(
    item: pd.Series, link: pd.DataFrame, graph: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Returns lists of entity ids per item, for each of :data:`RELATIONS`."""
    facts = graph[graph['relation'].isin(list(RELATIONS))]
    facts = facts.merge(link, on='film')  # keeps the order of the facts
    facts = facts.drop_duplicates(['item', 'relation', 'value'])
    lists = facts.groupby(['relation', 'item'])['value'].agg(list)
    index = pd.MultiIndex.from_product([list(RELATIONS), item])
    # Give each item its own empty list, so that changing one changes no other.
    cells = lists.reindex(index).map(lambda x: x if isinstance(x, list) else [])
    table = cells.to_numpy(dtype=object).reshape(len(RELATIONS), len(item))
    return dict(zip(RELATIONS.values(), table, strict=True))
