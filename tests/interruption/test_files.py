"""A writer that is killed, a disk that is full or may only be read: nothing is lost.

Stores are killed in tests/agnn_pyg/base/test_store.py; tables are written alike.
"""

import hashlib
import os
import resource
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from agnn_pyg.base.io import write_file
from agnn_pyg.base.store import read_store, write_store
from benchmarks.records import write_text
from data.fetch import DownloadError, fetch
from tests.agnn_pyg.base.test_store import names
from tests.interruption.killing import every_moment, in_a_child, outcome

CONTENT = b'0123456789' * 30_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def download(url, output_file, _):
    Path(output_file).write_bytes(CONTENT)


def fetch_to(folder, name='raw.csv', downloader=download):
    url = f'https://example.org/{name}'
    return fetch(url, DIGEST, downloader=downloader, cache=folder)


def limited(work, size=4096):
    """Runs work in a process whose files may hold so many bytes, no more."""

    def prepare():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    assert not outcome(in_a_child(work, prepare))


def test_a_killed_fetch_leaves_the_whole_file_or_none(tmp_path, record_property):
    def in_parts(url, output_file, _):
        with open(output_file, 'wb') as file:
            file.write(CONTENT[:100])
            file.write(CONTENT[100:])

    def work():
        fetch_to(tmp_path / 'cache', downloader=in_parts)

    kills, target = 0, tmp_path / 'cache' / 'raw.csv'
    for _ in every_moment(work):
        kills += 1
        assert not target.exists() or target.read_bytes() == CONTENT
        work()
        assert target.read_bytes() == CONTENT
        target.unlink()
    record_property('kills', kills)
    assert kills >= 8


def test_fetching_to_a_full_disk(tmp_path):
    def work():
        with pytest.raises(DownloadError, match=r'raw\.csv.*large'):
            fetch_to(tmp_path / 'cache')

    limited(work)
    assert names(tmp_path / 'cache') == []
    assert fetch_to(tmp_path / 'cache').exists()


def save(path, value):
    write_store(path, 'thing', 1, {'value': value}, {'x': torch.full((5000,), value)})


def test_saving_to_a_full_disk_keeps_the_old_files(tmp_path):
    save(tmp_path / 'saved', 1.0)
    write_text(tmp_path / 'page.md', 'short')
    write_file(pd.DataFrame({'a': [1]}), tmp_path / 'table.csv')
    before = [names(tmp_path), names(tmp_path / 'saved')]

    def work():
        for attempt in (
            lambda: save(tmp_path / 'saved', 2.0),
            lambda: write_text(tmp_path / 'page.md', 'long' * 5000),
            lambda: write_file(
                pd.DataFrame({'a': range(5000)}), tmp_path / 'table.csv'
            ),
        ):
            # PyTorch's writer reports in its own way.
            with pytest.raises((OSError, RuntimeError)):
                attempt()

    limited(work)
    assert [names(tmp_path), names(tmp_path / 'saved')] == before
    config, tensors = read_store(tmp_path / 'saved', 'thing', 1)
    assert config == {'value': 1.0}
    assert tensors['x'].eq(1).all()
    assert (tmp_path / 'page.md').read_text() == 'short'
    assert pd.read_csv(tmp_path / 'table.csv')['a'].tolist() == [1]


def test_a_cache_that_may_only_be_read():
    def work():
        # What is there is used; what is not, is asked for elsewhere.
        assert fetch_to(folder, downloader=None) == folder / 'raw.csv'
        for name in ('bad.csv', 'new.csv'):
            with pytest.raises(DownloadError, match='COLDSTART_DATA'):
                fetch_to(folder, name)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fetch_to(folder).chmod(0o644)
        (folder / 'bad.csv').write_bytes(b'corrupt')
        folder.chmod(0o555)
        # Root may write whatever the mode says; nobody may not.
        child = in_a_child(work, lambda: os.geteuid() or os.setuid(65534))
        assert not outcome(child)
        folder.chmod(0o755)
        assert names(folder) == ['bad.csv', 'raw.csv']
