"""A killed writer leaves the old file or the new one, and nothing half written.

Stores are killed in tests/agnn_pyg/base/test_store.py.
"""

import hashlib

import pandas as pd
import pytest

from agnn_pyg.base.io import write_file
from data.fetch import fetch
from tests.interruption.killing import every_moment

CONTENT = b'user,item,rating\n' * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
URL = 'https://example.org/raw.csv'


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


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_writing_a_table(suffix, tmp_path, record_property):
    path = tmp_path / f'table.{suffix}'

    def write(number):
        write_file(pd.DataFrame({'a': [number] * 99}), path)

    def read():
        frame = pd.read_csv(path) if suffix == 'csv' else pd.read_parquet(path)
        return frame['a'].tolist()

    write(0)
    kills = 0
    for _ in every_moment(lambda: write(1)):
        kills += 1
        assert read() in ([0] * 99, [1] * 99)
        write(0)
    record_property('kills', kills)
    assert kills >= 2
