"""Readers of files, each with whole files to damage."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from agnn_pyg.base.io import read_file
from agnn_pyg.recommender import AGNNRecommender
from benchmarks.suite import SUITES, load_suite
from data.lastfm import read_lastfm
from data.movielens import COLUMNS, MEMBER, read_ml1m, read_ml100k
from data.synthetic import planted_tables
from data.tables import read_tables
from tanp.recommender import TaNPRecommender
from tests.fuzz.mutate import mutated

ROOT = Path(__file__).parents[2]
Files = dict[str, bytes]
ROLES = {'user': 'user', 'item': 'item', 'rating': 'rating'}


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
    damage: Callable[[Files, np.random.Generator], Files]


def damage_a_file(files: Files, rng: np.random.Generator) -> Files:
    name = sorted(files)[rng.integers(len(files))]
    return files | {name: mutated(files[name], rng)}


def damage_an_archive(files: Files, rng: np.random.Generator) -> Files:
    """Damages the archive itself, or a member of an archive that is whole."""
    import io

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
    return read_tables(*paths, lists=('genre',))


def _read_files(ratings: str, users: str, items: str, folder: Path) -> object:
    return (
        read_file(folder / ratings, roles=ROLES, id_dtypes={'user': 'int'}),
        read_file(folder / users, roles={'user': 'user'}),
        read_file(folder / items, roles={'item': 'item'}, lists=['genre']),
    )


def _write_ml100k(folder: Path) -> None:
    rows = {
        'inter': ['1\t1\t5\t9', '2\t1\t3\t9', '2\t2\t1\t9'],
        'user': ['1\t20\tM\twriter\t01234', '2\t30\tF\tother\tV5A2B'],
        'item': ['1\tToy "X"\t1995\tComedy War', '2\tunkonwn\tunkonwn\tunknown'],
        'link': ['1\tm.01', '2\tm.02'],
        'kg': ['m.01\tfilm.film.actor\tm.9', 'm.02\tfilm.film.country\tm.8'],
    }
    with zipfile.ZipFile(folder / 'wheel.zip', 'w') as archive:
        for name, lines in rows.items():
            text = '\n'.join(['\t'.join(COLUMNS[name]), *lines])
            archive.writestr(MEMBER.format(name), text + '\n')


def _write_ml1m(folder: Path) -> None:
    with zipfile.ZipFile(folder / 'ml-1m.zip', 'w') as archive:
        archive.writestr('ml-1m/users.dat', '1::F::1::10::48067\n2::M::56::16::7\n')
        movies = '1::Toy Story (1995)::Animation|Comedy\n2::Léon (1994)::War\n'
        archive.writestr('ml-1m/movies.dat', movies.encode('latin-1'))
        archive.writestr('ml-1m/ratings.dat', '1::1::5::978\n2::1::3::979\n')


def _write_lastfm(folder: Path) -> None:
    members = {
        'interaction_dict_x': {'7': ['30', '4'], '2': ['4', '5', '30']},
        'interaction_dict_y': {'7': [1, 0], '2': [0, 1, 1]},
        'user_list': ['2', '9', '7'],
        'item_list': ['30', '4', '5'],
    }
    with zipfile.ZipFile(folder / 'data.zip', 'w') as archive:
        for name, content in members.items():
            archive.writestr(f'data/lastfm_20/{name}.json', json.dumps(content))


def _write_suites(folder: Path) -> None:
    for name in ('quick', 'few-shot-lastfm'):
        (folder / f'{name}.toml').write_bytes((SUITES / f'{name}.toml').read_bytes())


def _read_suites(folder: Path) -> object:
    return [load_suite(path) for path in sorted(folder.iterdir())]


def _write_agnn(folder: Path) -> None:
    tables = planted_tables(12, 15, density=0.6, seed=0)
    made = AGNNRecommender(epochs=1, steps=1, channels=4, min_count=1)
    made.fit(tables.ratings, tables.users, tables.items)
    made.save(folder / 'model')


def _write_tanp(folder: Path) -> None:
    ratings = pd.DataFrame(
        {'user': np.repeat(np.arange(12), 6), 'item': np.arange(72) % 15}
    )
    ratings['rating'] = (ratings['item'] % 2).astype(float)
    made = TaNPRecommender(
        epochs=1,
        min_interactions=2,
        support_sizes=(1, 3),
        embedding_channels=(4, 4),
        task_channels=(4, 4),
        decoder_channels=(4, 4),
    )
    made.fit(ratings).save(folder / 'model')


TEXT = ('ratings.csv', 'users.csv', 'items.tsv')
PARQUET = ('ratings.parquet', 'users.parquet', 'items.parquet')
TARGETS = {
    'text tables': Target(_write_text, partial(_read_tables, *TEXT), damage_a_file),
    'text files': Target(_write_text, partial(_read_files, *TEXT), damage_a_file),
    'Parquet tables': Target(
        _write_parquet, partial(_read_tables, *PARQUET), damage_a_file
    ),
    'Parquet files': Target(
        _write_parquet, partial(_read_files, *PARQUET), damage_a_file
    ),
    'MovieLens-100K': Target(
        _write_ml100k, lambda f: read_ml100k(f / 'wheel.zip'), damage_an_archive
    ),
    'MovieLens-1M': Target(
        _write_ml1m, lambda f: read_ml1m(f / 'ml-1m.zip'), damage_an_archive
    ),
    'Last.FM': Target(
        _write_lastfm, lambda f: read_lastfm(f / 'data.zip'), damage_an_archive
    ),
    'suites': Target(_write_suites, _read_suites, damage_a_file),
    'AGNN recommender': Target(
        _write_agnn, lambda f: AGNNRecommender.load(f / 'model'), damage_a_file
    ),
    'TaNP recommender': Target(
        _write_tanp, lambda f: TaNPRecommender.load(f / 'model'), damage_a_file
    ),
}
