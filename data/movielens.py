"""MovieLens-100K with film attributes, from a public wheel."""

from __future__ import annotations

import csv
import io
import os
import zipfile

import numpy as np
import pandas as pd

from data.archives import opened, read_member
from data.download import fetch_wheel
from data.tables import RatingTables

__all__ = ['load_ml100k', 'read_ml100k']

# The wheel carries the ratings as sample data. The ratings' licence forbids
# redistribution, so they are fetched from there and never kept here.
REQUIREMENT = 'recbole==1.2.1'
WHEEL = 'recbole-1.2.1-py3-none-any.whl'
SHA256 = '9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407'

MEMBER = 'recbole/dataset_example/ml-100k/ml-100k.{}'
# Columns of each member: our name and dtype by the header's. Zip codes are
# text: some have letters, and some begin with a zero.
COLUMNS = {
    'inter': {
        'user_id:token': ('user', 'int64'),
        'item_id:token': ('item', 'int64'),
        'rating:float': ('rating', 'float64'),
        'timestamp:float': ('timestamp', 'int64'),
    },
    'user': {
        'user_id:token': ('user', 'int64'),
        'age:token': ('age', 'int64'),
        'gender:token': ('gender', 'str'),
        'occupation:token': ('occupation', 'str'),
        'zip_code:token': ('zip_code', 'str'),
    },
    'item': {
        'item_id:token': ('item', 'int64'),
        'movie_title:token_seq': ('title', 'str'),
        'release_year:token': ('year', 'str'),
        'class:token_seq': ('genre', 'str'),
    },
    'link': {
        'item_id:token': ('item', 'int64'),
        'entity_id:token': ('film', 'str'),
    },
    'kg': {
        'head_id:token': ('film', 'str'),
        'relation_id:token': ('relation', 'str'),
        'tail_id:token': ('value', 'str'),
    },
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
# The source took as year what stands last in a title's brackets. One item is
# titled 'unkonwn' instead, and one ends in '(V)', for a film made for video.
NO_YEAR = ('unkonwn', 'V')
NO_GENRE = 'unknown'


def load_ml100k(*, cache: str | os.PathLike | None = None) -> RatingTables:
    """MovieLens-100K: 100,000 ratings of films, with attributes of both sides.

    The wheel is fetched once, its checksum verified, and read in place (see
    :func:`data.download.fetch`).

    **users**, by ascending ``user``: ``age`` (years), ``gender``,
    ``occupation``, ``zip_code``. **items**, by ascending ``item``: ``title``,
    ``year`` (``float``, ``NaN`` where unknown), and lists in the order of the
    source, empty where nothing is known: ``genre``, ``director``, ``writer``,
    ``star``, ``country``, ``language``, ``company``. All but the genre are ids
    of Freebase entities. **ratings**, in the order of the file: ``rating`` (1
    to 5), ``timestamp`` (seconds since 1970).

    **STATS:**

    .. list-table::
        :header-rows: 1

        * - Users
          - Items
          - Ratings
          - Mean rating
          - Ratings of all pairs
        * - 943
          - 1,682
          - 100,000
          - 3.53
          - 6.3 %

    .. list-table::
        :header-rows: 1

        * - Item attribute
          - Items with it
          - Distinct values
          - Longest list
        * - ``year``
          - 1,680
          - 71
          -
        * - ``genre``
          - 1,680
          - 18
          - 6
        * - ``director``
          - 1,590
          - 1,131
          - 12
        * - ``writer``
          - 1,336
          - 1,759
          - 18
        * - ``star``
          - 1,565
          - 27,262
          - 158
        * - ``country``
          - 1,593
          - 68
          - 10
        * - ``language``
          - 1,588
          - 92
          - 8
        * - ``company``
          - 880
          - 251
          - 5

    Args:
        cache: Folder to keep the wheel in.
            (default: :func:`data.download.cache_dir`)

    Raises:
        DownloadError: If the wheel is neither at hand nor to be had.
        ChecksumError: If another file arrives in its place.
    """
    return read_ml100k(fetch_wheel(REQUIREMENT, WHEEL, SHA256, cache=cache))


def read_ml100k(wheel: str | os.PathLike) -> RatingTables:
    """The tables of :func:`load_ml100k` from a wheel that is at hand.

    Args:
        wheel: Path of the wheel, or of a zip file laid out alike.

    Raises:
        ValueError: If the file is no zip, or a member is missing, damaged or
            lacks a column.
    """
    with opened(wheel, 'wheel') as archive:
        frames = {name: _read_table(archive, name) for name in COLUMNS}
    return RatingTables(
        users=frames['user'].sort_values('user', ignore_index=True),
        items=_items(frames['item'], frames['link'], frames['kg']),
        ratings=frames['inter'],
    )


def _read_table(archive: zipfile.ZipFile, name: str) -> pd.DataFrame:
    member, columns = MEMBER.format(name), COLUMNS[name]
    try:
        frame = pd.read_csv(
            io.BytesIO(read_member(archive, member)),
            sep='\t',
            usecols=list(columns),
            dtype={old: dtype for old, (_, dtype) in columns.items()},
            quoting=csv.QUOTE_NONE,  # titles hold quotation marks
            na_filter=False,  # nor is any text of theirs a missing value
        )
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"cannot read the columns {', '.join(columns)} of '{member}' "
            f'({error}): is the file {WHEEL}?'
        ) from error
    return frame.rename(columns={old: new for old, (new, _) in columns.items()})


def _items(
    items: pd.DataFrame, link: pd.DataFrame, graph: pd.DataFrame
) -> pd.DataFrame:
    items = items.sort_values('item', ignore_index=True)
    year = items['year'].mask(items['year'].isin(NO_YEAR), 'nan')
    try:
        year = year.astype('float64')
    except ValueError as error:
        raise ValueError(
            f"'release_year' must hold years ({error}): is the file {WHEEL}?"
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
    """Lists of entity ids per item, for each of the relations of use."""
    facts = graph[graph['relation'].isin(list(RELATIONS))]
    facts = facts.merge(link, on='film')  # keeps the order of the facts
    facts = facts.drop_duplicates(['item', 'relation', 'value'])
    lists = facts.groupby(['relation', 'item'])['value'].agg(list)
    index = pd.MultiIndex.from_product([list(RELATIONS), item])
    # Each item needs an empty list of its own: sharing one invites surprises.
    cells = lists.reindex(index).map(
        lambda cell: cell if isinstance(cell, list) else []
    )
    table = cells.to_numpy(dtype=object).reshape(len(RELATIONS), len(item))
    return dict(zip(RELATIONS.values(), table, strict=True))
