"""A short look with damaged files; `python -m tests.fuzz` looks long."""

import bz2
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from data.lastfm import read_lastfm
from data.movielens import read_ml1m, read_ml100k
from tests.data.test_movielens import ML1M, WHEEL
from tests.fuzz.targets import LASTFM

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_damaged_files_are_refused_or_read():
    command = [sys.executable, '-W', 'ignore', '-m', 'tests.fuzz', '--count', '40']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    failures = {name: found['failures'] for name, found in report.items()}
    assert not any(failures.values()), failures
    # Damage that is never noticed would be none.
    assert all(found['refused'] >= 10 for found in report.values())
    assert done.returncode == 0


# What each reader asks an archive for first.
READERS = {
    read: next(iter(members))
    for read, members in (
        (read_lastfm, LASTFM),
        (read_ml100k, WHEEL),
        (read_ml1m, ML1M),
    )
}


@pytest.mark.parametrize('reader', READERS)
def test_a_bomb_is_not_unpacked(reader, tmp_path, monkeypatch):
    monkeypatch.setattr('data.archives.read_member.__defaults__', (2**20,))
    for method, message in (
        (zipfile.ZIP_DEFLATED, 'longer than'),
        (zipfile.ZIP_BZIP2, 'neither stored nor deflated'),
        (zipfile.ZIP_LZMA, 'neither stored nor deflated'),
    ):
        with zipfile.ZipFile(tmp_path / 'bomb.zip', 'w', method) as archive:
            archive.writestr(READERS[reader], b'0' * (17 * 2**20))
        with pytest.raises(ValueError, match=message):
            reader(tmp_path / 'bomb.zip')
    # Which is why: one block of it unpacks to whatever it wants.
    assert len(bz2.compress(b'0' * (17 * 2**20))) < 100
