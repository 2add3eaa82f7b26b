"""Damaged files are read, or refused by an error of ours; COLDSTART_FUZZ looks longer.

An error that comes out of a library is a failure, and so are a file that appears and
memory beyond a limit. An input is named by target and number, and repeats from these.
"""

import os
import resource
import traceback
import warnings
import zlib

import numpy as np
import pytest

from benchmarks.records import peak_memory_mb
from data.fetch import DownloadError
from tests.fuzz.targets import ROOT, TARGETS, damage_a_file
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
            damaged = damage_a_file(whole, rng)
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
