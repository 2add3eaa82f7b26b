"""Readers of files, each with whole files to damage."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from agnn_pyg.base.config import Estimator
from agnn_pyg.base.io import read_file
from agnn_pyg.recommender import AGNNRecommender
from data.lastfm import read_lastfm
from data.movielens import read_ml1m, read_ml100k
from data.synthetic import planted_tables
from data.tables import read_tables
from tanp.recommender import TaNPRecommender
from tests.data.test_lastfm import MEMBERS
from tests.data.test_movielens import ML1M, WHEEL
from tests.fuzz.mutate import mutated

ROOT = Path(__file__).parents[2]
Files = dict[str, bytes]
LASTFM = {
    f'data/lastfm_20/{name}.json': json.dumps(content)
    for name, content in MEMBERS.items()
}
ROLES = {'user': 'user', 'item': 'item', 'rating': 'rating'}


def damage_a_file(files: Files, rng: np.random.Generator) -> Files:
    name = sorted(files)[rng.integers(len(files))]
    return files | {name: mutated(files[name], rng)}


@dataclass(frozen=True)
class Target:
    """A reader and what it reads.

    Attributes:
        make: Writes whole files into a folder.
        read: Reads them from there; nothing else may happen.
        damage: From the files' bytes to damaged ones.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    damage: Callable[[Files, np.random.Generator], Files] = damage_a_file


def damage_an_archive(files: Files, rng: np.random.Generator) -> Files:
    """Damages the archive itself, or a member of an archive that is whole."""
    (name,) = files
    if rng.random() < 0.4:
        return {name: mutated(files[name], rng)}
    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    member = sorted(members)[rng.integers(len(members))]
    members[member] = mutated(members[member], rng)
    packed = io.BytesIO()
    method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[rng.integers(2)]
    with zipfile.ZipFile(packed, 'w', method) as archive:
        archive.writestr('../outside', b'never written')
        for key, content in members.items():
            archive.writestr(key, content)
    return {name: packed.getvalue()}


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


def _archive(name: str, members: dict[str, str], folder: Path) -> None:
    with zipfile.ZipFile(folder / name, 'w') as archive:
        for member, text in members.items():
            archive.writestr(member, text.encode('latin-1'))


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
for name, members, read in (
    ('recbole.whl', WHEEL, read_ml100k),
    ('ml-1m.zip', ML1M, read_ml1m),
    ('lastfm.zip', LASTFM, read_lastfm),
):
    TARGETS[name] = Target(
        partial(_archive, name, members),
        lambda folder, name=name, read=read: read(folder / name),
        damage_an_archive,
    )
for made in (
    AGNNRecommender(epochs=1, steps=1, channels=4, min_count=1),
    TaNPRecommender(epochs=1, min_interactions=2, support_sizes=(1, 3), min_count=1),
):
    TARGETS[type(made).__name__] = Target(
        partial(_save, made), lambda folder, made=made: made.load(folder / 'model')
    )
