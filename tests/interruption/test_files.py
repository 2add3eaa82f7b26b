"""Whoever is killed while writing leaves the old or the new, and nothing half."""

import hashlib
import json
import os
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from agnn_pyg.base import read_folder, read_tensors, write_folder, write_tensors
from agnn_pyg.base.io import write_file
from agnn_pyg.recommender import AGNNRecommender
from benchmarks.records import write_json
from data.fetch import fetch
from data.synthetic import planted_tables
from tanp import TaNP, load_model, save_model
from tests.interruption.killing import every_moment, in_a_child, outcome

CONTENT = b'user,item,rating\n' * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = 'https://example.org/raw.csv'


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetching(tmp_path, record_property):
    def download(url, output_file, _):
        with open(output_file, 'wb') as file:
            file.write(CONTENT[:100])
            file.write(CONTENT[100:])

    def work():
        fetch(URL, DIGEST, downloader=download, cache=tmp_path / 'cache')

    kills, target = 0, tmp_path / 'cache' / 'raw.csv'
    for _ in every_moment(work):
        kills += 1
        assert not target.exists() or target.read_bytes() == CONTENT
        work()
        assert target.read_bytes() == CONTENT
        target.unlink()
    record_property('kills', kills)
    assert kills >= 8


def test_two_processes_at_once(tmp_path):
    def download(url, output_file, _):
        Path(output_file).write_bytes(CONTENT)
        time.sleep(0.2)

    def work():
        fetch(URL, DIGEST, downloader=download, cache=tmp_path / 'cache')

    children = [in_a_child(work) for _ in range(2)]
    assert [outcome(child) for child in children] == [False, False]
    assert names(tmp_path / 'cache') == ['raw.csv']


def versions(folder, content):
    return lambda: write_folder(
        folder,
        'thing',
        1,
        {'name': content},
        lambda aside: write_tensors(aside, {'x': torch.full((3,), content)}),
    )


def test_saving_a_folder(tmp_path, record_property):
    folder = tmp_path / 'saved'
    versions(folder, 0.0)()
    kills = 0
    for _ in every_moment(versions(folder, 1.0)):
        kills += 1
        name = read_folder(folder, 'thing', 1)['name']
        assert name in (0.0, 1.0)
        assert read_tensors(folder)['x'].eq(name).all()
        versions(folder, 0.0)()
    record_property('kills', kills)
    assert kills >= 8
    # What the killed have left goes when it is old enough.
    for left in tmp_path.iterdir():
        os.utime(left, (0, time.time() - 7200))
    versions(folder, 2.0)()
    assert names(tmp_path) == ['saved']


def test_a_folder_renamed_by_a_writer_that_was_killed_is_put_back(tmp_path):
    versions(tmp_path / 'saved', 3.0)()
    (tmp_path / 'saved').rename(tmp_path / '.saved.replaced-x')
    assert read_folder(tmp_path / 'saved', 'thing', 1) == {'name': 3.0}
    assert names(tmp_path) == ['saved']


def test_of_what_killed_writers_left_the_last_is_put_back(tmp_path):
    folder = tmp_path / 'saved'
    versions(folder, 0.0)()

    def contents():
        name = read_folder(folder, 'thing', 1)['name']
        assert read_tensors(folder)['x'].eq(name).all()
        return name

    # Two rounds: what the first has left lies there when the second is killed.
    for later in (1.0, 2.0):
        before = contents()
        for _ in every_moment(versions(folder, later)):
            assert contents() in (before, later)
            if contents() == later:
                versions(folder, before)()
        versions(folder, later)()
    assert contents() == 2.0


@pytest.fixture
def writers(tmp_path):
    """Writers of one file by kind, each from a number, and its readers."""

    def save(number):
        torch.manual_seed(number)
        save_model(TaNP(9, task_channels=(4, 4)), tmp_path / 'model.pt')

    return {
        'model.pt': (save, lambda p: str(load_model(p).state_dict())),
        'report.json': (
            lambda n: write_json(tmp_path / 'report.json', {'figure': n}),
            lambda p: json.loads(p.read_text()),
        ),
        'table.csv': (
            lambda n: write_file(pd.DataFrame({'a': [n] * 99}), tmp_path / 'table.csv'),
            lambda p: pd.read_csv(p)['a'].tolist(),
        ),
        'table.parquet': (
            lambda n: write_file(
                pd.DataFrame({'a': [n] * 99}), tmp_path / 'table.parquet'
            ),
            lambda p: pd.read_parquet(p)['a'].tolist(),
        ),
    }


@pytest.mark.parametrize(
    'name', ['model.pt', 'report.json', 'table.csv', 'table.parquet']
)
def test_writing_a_file(writers, name, tmp_path, record_property):
    write, read = writers[name]
    known = []
    for number in (1, 0):
        write(number)
        known.append(read(tmp_path / name))
    kills = 0
    for _ in every_moment(lambda: write(1)):
        kills += 1
        assert read(tmp_path / name) in known
        write(0)
        assert names(tmp_path) == [name]
    record_property('kills', kills)
    assert kills >= 1


def test_saving_a_recommender(tmp_path, record_property):
    pytest.importorskip('pytorch_lightning')
    tables = planted_tables(20, 20, density=0.5)
    small = {'epochs': 1, 'channels': 4, 'hidden_channels': 4}
    made = [
        AGNNRecommender(seed=seed, **small).fit(tables.ratings) for seed in range(2)
    ]
    pairs = tables.ratings.head(20)
    known = [recommender.predict(pairs).tolist() for recommender in made]
    path, kills = tmp_path / 'model', 0
    made[0].save(path)
    for _ in every_moment(lambda: made[1].save(path)):
        kills += 1
        assert AGNNRecommender.load(path).predict(pairs).tolist() in known
    record_property('kills', kills)
    made[1].save(path)
    assert AGNNRecommender.load(path).predict(pairs).tolist() == known[1]
