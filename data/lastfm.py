"""Last.FM as implicit feedback, from the archive of TaNP's authors."""

from __future__ import annotations

import json
import os

import pandas as pd

from data.archives import open_zip, read_member
from data.fetch import fetch
from data.tables import RatingTables

ADDRESS = 'https://github.com/IIEdm/TaNP/raw/main/TaNP/data.zip'
SHA256 = 'fb8c36484f96bfd926c4a3d8a3ae1bc04c8be57a8971cf9d6bce90ebe5ca9c3c'

# The archive holds thousands of pickles beside them, which would run code.
MEMBER = 'data/lastfm_20/{}.json'
MEMBERS = ('interaction_dict_x', 'interaction_dict_y', 'user_list', 'item_list')
LIMIT = 16 * 2**20  # bytes; the longest of the four has 331,095


def load_lastfm(*, cache: str | os.PathLike | None = None) -> RatingTables:
    """Loads Last.FM: artists that users listened to, and as many that they did not.

    Fetched once, its checksum verified, and read in place (see
    :func:`data.fetch.fetch`): four JSON members of the archive and nothing else.

    **users** and **items** are ids alone, in the order of the source, which its
    seeded splits count in. **ratings**: by user in the order of the source, each
    user's history in its own order; ``rating`` is 1 for an artist the user listened
    to and 0 for one sampled from the others.

    **STATS:** 1,872 users, 354 of them with 30 labels or more; 3,846 items; 42,346
    labels, half of them 1.

    Args:
        cache: Folder to keep the archive in. (default: :func:`data.fetch.cache_dir`)

    Raises:
        DownloadError: If the archive is neither at hand nor available.
    """
    return read_lastfm(fetch(ADDRESS, SHA256, subdir='lastfm_20', cache=cache))


def read_lastfm(archive: str | os.PathLike) -> RatingTables:
    """Reads the tables of :func:`load_lastfm` from its archive."""
    with open_zip(archive) as file:
        items, labels, users, catalogue = (
            json.loads(read_member(file, MEMBER.format(name), LIMIT))
            for name in MEMBERS
        )
    # Ids are text in the source.
    ratings = {
        'user': [int(user) for user in users for _ in items.get(user, ())],
        'item': [int(item) for user in users for item in items.get(user, ())],
        'rating': [float(y) for user in users for y in labels.get(user, ())],
    }
    users, items = {'user': [*map(int, users)]}, {'item': [*map(int, catalogue)]}
    return RatingTables(*map(pd.DataFrame, (users, items, ratings)))
