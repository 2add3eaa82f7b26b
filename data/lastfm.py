"""Last.FM as implicit feedback, from the archive of TaNP's authors."""

from __future__ import annotations

import json
import os
from typing import Any

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
    """Reads the tables of :func:`load_lastfm` from its archive.

    Raises:
        ValueError: If the file is no zip or damaged, a member is missing, too long or
            no JSON of the expected shape, or the labels are not 0 or 1.
    """
    with open_zip(archive) as file:
        content = {
            name: _parse(name, read_member(file, MEMBER.format(name), LIMIT))
            for name in MEMBERS
        }
    items, labels = (_histories(name, content[name]) for name in MEMBERS[:2])
    users = _ids('user_list', content['user_list'])
    named = items.keys() == labels.keys() and items.keys() <= set(users)
    odd = [u for u in items if len(items[u]) != len(labels.get(u, ()))]
    odd += [u for u, values in labels.items() if not set(values) <= {0, 1}]
    if odd or not named:
        raise ValueError(
            "'interaction_dict_y' must hold a label, 0 or 1, for each item of users of "
            f"'user_list' (got others, of users {odd[:3]}); fetch the archive again"
        )
    ratings = pd.DataFrame(
        {
            'user': [u for u in users for _ in items.get(u, ())],
            'item': [i for u in users for i in items.get(u, ())],
            'rating': [float(y) for u in users for y in labels.get(u, ())],
        }
    )
    return RatingTables(
        users=pd.DataFrame({'user': users}),
        items=pd.DataFrame({'item': _ids('item_list', content['item_list'])}),
        ratings=ratings,
    )


def _parse(name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    # No text, no JSON, a number of too many digits; too many brackets.
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"'{name}' must be JSON ({error}); fetch the archive again"
        ) from error


def _ids(name: str, values: Any) -> list[int]:
    """Ids are text in the source, in which '10' would come before '9'."""
    try:
        if not isinstance(values, list):
            raise TypeError(type(values).__name__)
        return [int(str(value)) for value in values]  # and not 0.5 to 0
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"'{name}' must hold lists of whole numbers ({error})"
        ) from error


def _histories(name: str, content: Any) -> dict[int, list[int]]:
    if not isinstance(content, dict):
        raise ValueError(
            f"'{name}' must map users to lists (got {type(content).__name__})"
        )
    users = _ids(name, list(content))
    return dict(zip(users, (_ids(name, v) for v in content.values()), strict=True))
