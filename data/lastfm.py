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

# The archive also holds thousands of pickles, which could run code when loaded.
MEMBER = 'data/lastfm_20/{}.json'
MEMBERS = ('interaction_dict_x', 'interaction_dict_y', 'user_list', 'item_list')
LIMIT = 16 * 2**20  # bytes; the longest of the four has 331,095


def load_lastfm(*, cache: str | os.PathLike | None = None) -> RatingTables:
    """Loads Last.FM: artists that users listened to, and as many sampled others.

    The archive is fetched once and its checksum verified (see
    :func:`data.fetch.fetch`). Only four JSON members are read, in place.

    **users** and **items** have only ids, in the order of the source, on which its
    seeded splits depend. **ratings** are grouped by user; users and the history of
    each user keep the order of the source. ``rating`` is 1 for artists that the user
    listened to and 0 for sampled others.

    **STATS:** 1,872 users, 354 of them with 30 labels or more; 3,846 items; 42,346
    labels, half of them 1.

    Args:
        cache: Folder to keep the archive in. (default: :func:`data.fetch.cache_dir`)

    Raises:
        DownloadError: If the archive is neither cached nor downloadable.
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
