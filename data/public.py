"""Flixster, Douban and YahooMusic in the splits of Monti et al., with side graphs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from data.fetch import fetch
from data.splits import Split, given_split
from data.tables import RatingTables

# By name: SHA-256 of the published file, and its matrices with user and item graphs.
PUBLIC = {
    'flixster': (
        '8b07e0387edfe7ffdccead2826bb3844ddbd9e6a8ccba264ce81a3b59b273197',
        {'user': 'W_users', 'item': 'W_movies'},
    ),
    'douban': (
        '1f4476321cbfe0f606e7e35d0695ca15447a1b0b2c811df130109b6cb9a067ae',
        {'user': 'W_users'},
    ),
    'yahoo_music': (
        '56a80de836537544d0d6ba36fc59937dfe87f738ac5e2a701cc8226faf4f31ec',
        {'item': 'W_tracks'},
    ),
}
ADDRESS = (
    'https://github.com/muhanzhang/IGMC/raw/master/raw_data/{}/'
    'training_test_dataset.mat'
)


def load_public(
    name: str, *, seed: int = 0, cache: str | os.PathLike | None = None
) -> tuple[RatingTables, Split]:
    """Loads a data set of `"Geometric Matrix Completion with Recurrent Multi-Graph
    Neural Networks" <https://arxiv.org/abs/1704.06803>`_ and its published split.

    These are subsamples of 3,000 users and 3,000 items with ratings of 0.5 to 5
    (Flixster), 1 to 5 (Douban) and 1 to 100 (YahooMusic). **users** and **items** have
    ids from 0 and, if the data set has such a side graph, a list column ``neighbor``
    with the ids of neighbors. Validation is a random tenth of the published training
    ratings.

    Args:
        name: One of :data:`PUBLIC`.
        seed: Seed of the validation part.
        cache: Folder to keep the file in. (default: :func:`data.fetch.cache_dir`)

    Raises:
        DownloadError: If the file is neither cached nor downloadable.
        ValueError: If the name is unknown.
    """
    if name not in PUBLIC:
        raise ValueError(f"'name' must be one of {', '.join(PUBLIC)} (got {name!r})")
    checksum, _ = PUBLIC[name]
    path = fetch(ADDRESS.format(name), checksum, name=f'{name}.mat', cache=cache)
    return read_public(path, name, seed=seed)


def read_public(
    path: str | os.PathLike, name: str, *, seed: int = 0
) -> tuple[RatingTables, Split]:
    """Reads the data of :func:`load_public` from its MATLAB 7.3 file (HDF5).

    Raises:
        ValueError: If the file is damaged, or a matrix is missing or has another
            shape.
    """
    import h5py

    _, graphs = PUBLIC[name]
    try:
        with h5py.File(path) as file:
            # MATLAB is column-major, so h5py reads the transpose.
            rating, fit, test = (
                _matrix(file, key).T for key in ('M', 'Otraining', 'Otest')
            )
            sides = {side: _matrix(file, key) for side, key in graphs.items()}
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"'{Path(path).name}' is damaged or not the file of {name} ({error}); "
            'remove it and fetch it again'
        ) from error
    sizes = {'user': rating.shape[0], 'item': rating.shape[1]}
    whole = all(graph.shape == (sizes[side],) * 2 for side, graph in sides.items())
    if not (fit.shape == test.shape == rating.shape and whole):
        raise ValueError(
            f"'{Path(path).name}' must hold matrices of matching shapes (ratings "
            f'{rating.shape}); fetch it again'
        )
    frames = {
        side: pd.DataFrame({side: np.arange(size)}) for side, size in sizes.items()
    }
    for side, graph in sides.items():
        frames[side]['neighbor'] = [np.flatnonzero(row).tolist() for row in graph]
    ratings = pd.concat([_ratings(rating, m) for m in (fit, test)], ignore_index=True)
    tables = RatingTables(frames['user'], frames['item'], ratings)
    count = np.count_nonzero(fit)
    parts = ratings.iloc[:count], ratings.iloc[count:]
    return tables, given_split(*parts, 'warm', seed=seed)


def _matrix(file: object, key: str) -> np.ndarray:
    """Reads a matrix that MATLAB stored as dense or as sparse columns."""
    from scipy.sparse import csc_matrix

    entry = file[key]
    if not hasattr(entry, 'keys'):
        return entry[()]
    rows = int(entry.attrs['MATLAB_sparse'])
    parts = entry['data'][()], entry['ir'][()], entry['jc'][()]
    # Transpose it, because h5py reads dense matrices transposed.
    return csc_matrix(parts, shape=(rows, len(parts[2]) - 1)).toarray().T


def _ratings(rating: np.ndarray, mask: np.ndarray) -> pd.DataFrame:
    user, item = np.nonzero(mask)
    values = rating[user, item].astype(float)
    return pd.DataFrame({'user': user, 'item': item, 'rating': values})
