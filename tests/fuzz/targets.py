"""Readers of files, each with whole files to damage."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from agnn_pyg.base.config import Estimator
from agnn_pyg.base.io import read_file
from agnn_pyg.recommender import AGNNRecommender
from data.synthetic import planted_tables
from data.tables import read_tables
from tanp.recommender import TaNPRecommender
from tests.fuzz.mutate import mutated

ROOT = Path(__file__).parents[2]
Files = dict[str, bytes]
ROLES = {'user': 'user', 'item': 'item', 'rating': 'rating'}


def damage_a_file(files: Files, rng: np.random.Generator) -> Files:
    name = sorted(files)[rng.integers(len(files))]
    return files | {name: mutated(files[name], rng)}


@dataclass(frozen=True)
class Target:
    """A reader, :obj:`read`, of whole files that :obj:`make` writes into a folder."""

    make: Callable[[Path], None]
    read: Callable[[Path], object]


def _tables():
    return planted_tables(6, 8, density=0.6, seed=0)


def _write_text(folder: Path) -> None:
    tables = _tables()
    genre = tables.items['genre'].map('|'.join)
    tables.ratings.to_csv(folder / 'ratings.csv', index=False)
    tables.users.to_csv(folder / 'users.csv', index=False)
    items = tables.items.assign(genre=genre)
    items.to_csv(folder / 'items.tsv', index=False, sep='\t')


def _write_parquet(folder: Path) -> None:
    tables = _tables()
    for name in ('ratings', 'users', 'items'):
        getattr(tables, name).to_parquet(folder / f'{name}.parquet', index=False)


def _read_tables(ratings: str, users: str, items: str, folder: Path) -> object:
    paths = (folder / name for name in (ratings, users, items))
    ids = read_file(folder / ratings, roles=ROLES, id_dtypes={'user': 'int'})
    return ids, read_tables(*paths, lists=('genre',))


def _save(recommender: Estimator, folder: Path) -> None:
    tables = planted_tables(12, 15, density=0.6, seed=0)
    recommender.fit(tables.ratings, tables.users, tables.items)
    recommender.save(folder / 'model')


TEXT = ('ratings.csv', 'users.csv', 'items.tsv')
PARQUET = ('ratings.parquet', 'users.parquet', 'items.parquet')
TARGETS = {
    'text files': Target(_write_text, partial(_read_tables, *TEXT)),
    'Parquet files': Target(_write_parquet, partial(_read_tables, *PARQUET)),
}
for made in (
    AGNNRecommender(epochs=1, steps=1, channels=4, min_count=1),
    TaNPRecommender(epochs=1, min_interactions=2, support_sizes=(1, 3), min_count=1),
):
    TARGETS[type(made).__name__] = Target(
        partial(_save, made), lambda folder, made=made: made.load(folder / 'model')
    )
