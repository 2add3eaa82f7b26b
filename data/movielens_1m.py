"""MovieLens-1M, from GroupLens."""

from __future__ import annotations

import csv
import io
import os
import warnings
import zipfile

import pandas as pd

from data.archives import opened, read_member
from data.tables import RatingTables
from data.web import fetch_address

__all__ = ['load_ml1m', 'read_ml1m']

ADDRESS = 'https://files.grouplens.org/datasets/movielens/ml-1m.zip'
SHA256 = 'a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20'

MEMBER = 'ml-1m/{}.dat'
SEPARATOR = b'::'
COLUMNS = {
    'users': {
        'user': 'int64',
        'gender': 'str',
        'age': 'int64',
        'occupation': 'int64',
        'zip_code': 'str',
    },
    'movies': {'item': 'int64', 'title': 'str', 'genre': 'str'},
    'ratings': {
        'user': 'int64',
        'item': 'int64',
        'rating': 'float64',
        'timestamp': 'int64',
    },
}
# What the archive's README calls its codes, 0 to 20.
OCCUPATIONS = (
    *('other', 'academic/educator', 'artist', 'clerical/admin'),
    *('college/grad student', 'customer service', 'doctor/health care'),
    *('executive/managerial', 'farmer', 'homemaker', 'K-12 student', 'lawyer'),
    *('programmer', 'retired', 'sales/marketing', 'scientist', 'self-employed'),
    *('technician/engineer', 'tradesman/craftsman', 'unemployed', 'writer'),
)


def load_ml1m(*, cache: str | os.PathLike | None = None) -> RatingTables:
    """MovieLens-1M: a million ratings of films, with attributes of both sides.

    Fetched once from GroupLens, its checksum verified, and read in place (see
    :func:`data.download.fetch`). Its licence does not allow redistribution.

    **users**: ``gender``, ``age`` (the youngest of a range: 1, 18, 25, 35, 45,
    50 or 56 years), ``occupation``, ``zip_code``. **items**: ``title``,
    ``year``, ``genre`` (a list). **ratings**, in the order of the file:
    ``rating`` (1 to 5), ``timestamp`` (seconds since 1970). All tables keep the
    source's order.

    **STATS:**

    .. list-table::
        :header-rows: 1

        * - Users
          - Items
          - Ratings
        * - 6,040
          - 3,883
          - 1,000,209

    Args:
        cache: Folder to keep the archive in.
            (default: :func:`data.download.cache_dir`)

    Raises:
        DownloadError: If the archive is neither at hand nor to be had.
        ChecksumError: If another file arrives in its place.
    """
    return read_ml1m(fetch_address(ADDRESS, SHA256, cache=cache))


def read_ml1m(archive: str | os.PathLike) -> RatingTables:
    """The tables of :func:`load_ml1m` from an archive that is at hand.

    Args:
        archive: Path of the archive, or of a zip file laid out alike.

    Raises:
        ValueError: If the file is no zip or damaged, or a member is missing or
            not of the expected shape.
    """
    with opened(archive, 'archive') as file:
        frames = {name: _read_table(file, name) for name in COLUMNS}
    return RatingTables(
        users=_users(frames['users']),
        items=_items(frames['movies']),
        ratings=frames['ratings'],
    )


def _read_table(archive: zipfile.ZipFile, name: str) -> pd.DataFrame:
    member, columns = MEMBER.format(name), COLUMNS[name]
    # pandas reads separators of two characters with its slow parser only.
    content = read_member(archive, member).replace(SEPARATOR, b'\t')
    try:
        with warnings.catch_warnings():
            # pandas drops surplus fields with a warning; refuse them instead.
            warnings.simplefilter('error', pd.errors.ParserWarning)
            return pd.read_csv(
                io.BytesIO(content),
                sep='\t',
                names=list(columns),
                dtype=columns,
                index_col=False,
                encoding='latin-1',
                quoting=csv.QUOTE_NONE,  # titles hold quotation marks
                na_filter=False,  # nor is any text of theirs a missing value
            )
    except (ValueError, OverflowError, pd.errors.ParserWarning) as error:
        raise ValueError(
            f"cannot read {', '.join(columns)} from '{member}' ({error}): is the file "
            'ml-1m.zip?'
        ) from error


def _users(users: pd.DataFrame) -> pd.DataFrame:
    odd = users.loc[~users['occupation'].between(0, 20), 'occupation']
    if len(odd):
        raise ValueError(f"'occupation' must be a code of 0 to 20 (got {odd.iloc[0]})")
    names = dict(enumerate(OCCUPATIONS))
    return users.assign(occupation=users['occupation'].map(names))


def _items(items: pd.DataFrame) -> pd.DataFrame:
    """Takes the year out of titles such as ``Toy Story (1995)``."""
    parts = items['title'].str.extract(r'^(?P<title>.*?)\s*(?:\((?P<year>\d{4})\))?$')
    return items.assign(
        title=parts['title'],
        year=parts['year'].astype('float64'),
        genre=[[g for g in cell.split('|') if g] for cell in items['genre']],
    )
