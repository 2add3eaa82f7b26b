"""Damaged files are read, or refused by an error of ours; COLDSTART_FUZZ looks longer.

An error that comes out of a library is a failure, and so are a file that appears and
memory beyond a limit. An input is named by target and number, and repeats from these.
"""

import bz2
import os
import resource
import traceback
import warnings
import zipfile
import zlib

import numpy as np
import pytest

from benchmarks.records import peak_memory_mb
from data.fetch import DownloadError
from data.lastfm import read_lastfm
from data.movielens import read_ml1m, read_ml100k
from tests.data.test_movielens import ML1M, WHEEL
from tests.fuzz.targets import LASTFM, ROOT, TARGETS
from tests.interruption.killing import in_a_child, outcome

COUNT = int(os.environ.get('COLDSTART_FUZZ', '40'))
OURS = tuple(str(ROOT / name) for name in ('agnn_pyg', 'tanp', 'data', 'benchmarks'))
# What reading files of kilobytes may take beyond whole ones: address space, of which
# allocators reserve plenty, and memory that is really used.
ALLOWANCE, PEAK_MB = 2**32, 256


def contents(folder):
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def is_ours(error):
    """Whether the error is of a type we promise, and raised in our own source."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    promised = type(error) is ValueError or isinstance(error, DownloadError)
    return promised and frame.filename.startswith(OURS)


def limit_memory():
    with open('/proc/self/statm', encoding='ascii') as file:
        used = int(file.read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ALLOWANCE, hard))


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', TARGETS)
def test_damaged_files_are_refused_or_read(name, tmp_path):
    target, folder = TARGETS[name], tmp_path / 'a' / 'b'
    folder.mkdir(parents=True)
    target.make(folder)
    target.read(folder)  # what is whole is accepted
    whole = contents(folder)

    def work():
        warnings.simplefilter('ignore')
        limit_memory()
        before, refused = peak_memory_mb(), 0
        for number in range(COUNT):
            rng = np.random.default_rng([zlib.crc32(name.encode()), number])
            damaged = target.damage(whole, rng)
            for path, content in damaged.items():
                (folder / path).write_bytes(content)
            try:
                target.read(folder)
            except Exception as error:
                refused += 1
                assert is_ours(error), (number, traceback.format_exc())  # noqa: PT017
            assert contents(tmp_path) == {f'a/b/{k}': v for k, v in damaged.items()}
        assert peak_memory_mb() - before < PEAK_MB
        assert refused >= COUNT / 4  # damage that is never noticed would be none

    assert not outcome(in_a_child(work))


# Members of archives; what a reader asks for first comes first.
READERS = {read_lastfm: LASTFM, read_ml100k: WHEEL, read_ml1m: ML1M}


@pytest.mark.parametrize('reader', READERS)
def test_a_bomb_is_not_unpacked(reader, tmp_path, monkeypatch):
    monkeypatch.setattr('data.archives.read_member.__defaults__', (2**20,))
    for method, message in (
        (zipfile.ZIP_DEFLATED, 'longer than'),
        (zipfile.ZIP_BZIP2, 'neither stored nor deflated'),
        (zipfile.ZIP_LZMA, 'neither stored nor deflated'),
    ):
        with zipfile.ZipFile(tmp_path / 'bomb.zip', 'w', method) as archive:
            archive.writestr(next(iter(READERS[reader])), b'0' * (17 * 2**20))
        with pytest.raises(ValueError, match=message):
            reader(tmp_path / 'bomb.zip')
    # Which is why: one block of it unpacks to whatever it wants.
    assert len(bz2.compress(b'0' * (17 * 2**20))) < 100
