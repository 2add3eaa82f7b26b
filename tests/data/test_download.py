import hashlib
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from data import download
from data.download import (
    ChecksumError,
    DownloadError,
    cache_dir,
    fetch,
    fetch_wheel,
    sha256,
)

CONTENT = b'user,item,rating\n1,2,3\n'
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('COLDSTART_DATA', str(tmp_path / 'cache'))
    monkeypatch.delenv('COLDSTART_MIRROR', raising=False)
    return tmp_path / 'cache'


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / 'mirror'
    folder.mkdir()
    monkeypatch.setenv('COLDSTART_MIRROR', str(folder))
    return folder


def write(folder):
    (folder / 'raw.csv').write_bytes(CONTENT)


def write_garbage(folder):
    (folder / 'raw.csv').write_bytes(CONTENT[:-1])


def write_nothing(folder):
    pass


def fail(folder):
    (folder / 'raw.csv').write_bytes(CONTENT[:5])
    raise OSError('no route to host')


def never(folder):
    raise AssertionError('there was no need to download')


def files(folder):
    return sorted(p.name for p in folder.rglob('*'))


def test_cache_dir(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / 'cache'
    monkeypatch.setenv('COLDSTART_DATA', '~/raw')
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    assert cache_dir() == tmp_path / 'raw'
    monkeypatch.setenv('COLDSTART_DATA', '')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
    assert cache_dir() == tmp_path / 'xdg' / 'coldstart-pyg'
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')
    assert cache_dir() == tmp_path / '.cache' / 'coldstart-pyg'


def test_sha256_of_a_file_longer_than_a_block(tmp_path):
    content = b'0123456789' * 200_000
    (tmp_path / 'big').write_bytes(content)
    assert sha256(tmp_path / 'big') == hashlib.sha256(content).hexdigest()


def test_downloads_once(cache):
    path = fetch('raw.csv', DIGEST.upper(), write, subdir='a/b')
    assert path == cache / 'a' / 'b' / 'raw.csv'
    assert path.read_bytes() == CONTENT
    assert fetch('raw.csv', DIGEST, never, subdir='a/b') == path
    assert files(cache) == ['a', 'b', 'raw.csv']


def test_cache_argument_goes_before_the_variable(cache, tmp_path):
    path = fetch('raw.csv', DIGEST, write, cache=tmp_path / 'other')
    assert path == tmp_path / 'other' / 'raw.csv'
    assert not cache.exists()


@pytest.mark.parametrize('content', [b'', b'garbage', CONTENT + b'x'])
def test_corrupt_file_in_the_cache_is_replaced(cache, content):
    cache.mkdir()
    (cache / 'raw.csv').write_bytes(content)
    assert fetch('raw.csv', DIGEST, write).read_bytes() == CONTENT
    assert files(cache) == ['raw.csv']


def test_corrupt_file_in_the_cache_does_not_survive_offline(cache):
    cache.mkdir()
    (cache / 'raw.csv').write_bytes(b'garbage')
    with pytest.raises(DownloadError, match='no route'):
        fetch('raw.csv', DIGEST, fail)
    assert files(cache) == []


@pytest.mark.parametrize('folder', ['', 'lastfm_20', 'a/b'])
def test_mirror_is_read_in_place(cache, mirror, folder):
    copy = mirror / folder / 'raw.csv'
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(CONTENT)
    assert fetch('raw.csv', DIGEST, never) == copy
    assert not cache.exists()


def test_mirror_is_matched_by_checksum(mirror):
    for folder, content in (('a', b'another raw.csv'), ('b', CONTENT)):
        (mirror / folder).mkdir()
        (mirror / folder / 'raw.csv').write_bytes(content)
    assert fetch('raw.csv', DIGEST, never) == mirror / 'b' / 'raw.csv'


def test_mirror_with_another_file_of_that_name(cache, mirror):
    (mirror / 'raw.csv').write_bytes(b'another')
    assert fetch('raw.csv', DIGEST, write) == cache / 'raw.csv'
    (cache / 'raw.csv').unlink()
    with pytest.raises(DownloadError, match=r'sha256 differs: .*mirror'):
        fetch('raw.csv', DIGEST, fail)
    assert (mirror / 'raw.csv').read_bytes() == b'another'


def test_mirror_that_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('COLDSTART_MIRROR', str(tmp_path / 'typo'))
    with pytest.raises(ValueError, match=r'COLDSTART_MIRROR must name a .*typo'):
        fetch('raw.csv', DIGEST, never)


@pytest.mark.parametrize('getter', [fail, write_nothing])
def test_offline_message_names_the_ways_out(cache, getter):
    with pytest.raises(DownloadError) as caught:
        fetch('raw.csv', DIGEST, getter)
    for part in ('raw.csv', DIGEST, 'COLDSTART_MIRROR', 'COLDSTART_DATA'):
        assert part in str(caught.value)
    assert files(cache) == []


def test_garbage_leaves_nothing_behind(cache):
    found = hashlib.sha256(CONTENT[:-1]).hexdigest()
    with pytest.raises(ChecksumError, match=rf'raw\.csv .*{DIGEST}.*{found}'):
        fetch('raw.csv', DIGEST, write_garbage)
    assert files(cache) == []


def test_interruption_leaves_nothing_behind(cache):
    def interrupted(folder):
        write(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch('raw.csv', DIGEST, interrupted)
    assert files(cache) == []


def test_file_appears_only_when_it_is_whole(cache):
    def slow(folder):
        write_garbage(folder)
        assert not (cache / 'raw.csv').exists()
        write(folder)

    assert fetch('raw.csv', DIGEST, slow).read_bytes() == CONTENT


def test_two_at_once(cache):
    both_are_downloading = threading.Barrier(2, timeout=10)

    def getter(folder):
        write(folder)
        both_are_downloading.wait()

    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetch('raw.csv', DIGEST, getter), range(2)))
    assert paths == [cache / 'raw.csv'] * 2
    assert paths[0].read_bytes() == CONTENT
    assert files(cache) == ['raw.csv']


@pytest.mark.parametrize('before', [None, b'garbage'])
def test_what_another_has_just_fetched_is_not_removed(cache, monkeypatch, before):
    cache.mkdir()
    if before is not None:
        (cache / 'raw.csv').write_bytes(before)
    look, looks = download._is_intact, []

    def slow(path, digest):
        found = look(path, digest)
        looks.append(found)
        if len(looks) == 1:  # the other one is done between a look and what follows
            assert fetch('raw.csv', DIGEST, write) == cache / 'raw.csv'
        return found

    monkeypatch.setattr(download, '_is_intact', slow)
    assert fetch('raw.csv', DIGEST, never) == cache / 'raw.csv'
    assert not looks[0]
    assert (cache / 'raw.csv').read_bytes() == CONTENT


def test_a_file_is_not_replaced_while_another_judges_it(cache, monkeypatch):
    cache.mkdir()
    (cache / 'raw.csv').write_bytes(b'garbage')
    look, other = download._is_intact, []

    def slow(path, digest):
        found = look(path, digest)
        if len(other) == 1 and not found:  # the second look, with the folder locked
            other[0].start()
            other[0].join(0.3)
            assert path.read_bytes() == b'garbage'
            other.append(None)
        elif not other:
            source = cache / '.mine'
            source.write_bytes(CONTENT)
            arguments = (source, path, digest)
            other.append(threading.Thread(target=download._publish, args=arguments))
        return found

    monkeypatch.setattr(download, '_is_intact', slow)
    fetch('raw.csv', DIGEST, write)
    other[0].join()
    assert (cache / 'raw.csv').read_bytes() == CONTENT


def test_cache_that_cannot_be_written(cache):
    cache.write_text('a file stands here')
    with pytest.raises(DownloadError, match=r'cannot be written.*COLDSTART_DATA'):
        fetch('raw.csv', DIGEST, never)


def test_folder_in_the_place_of_the_file(cache):
    (cache / 'raw.csv').mkdir(parents=True)
    with pytest.raises(DownloadError, match='cannot be written'):
        fetch('raw.csv', DIGEST, write)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"'name' .*'\.\./raw\.csv'"):
        fetch('../raw.csv', DIGEST, never)
    with pytest.raises(ValueError, match=r"'digest' must be 64 .*'abc'"):
        fetch('raw.csv', 'abc', never)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder that pip looks in instead of the network, with one wheel."""
    for name in [name for name in os.environ if name.startswith('PIP_')]:
        monkeypatch.delenv(name)
    shelf = tmp_path / 'shelf'
    shelf.mkdir()
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(shelf))
    info = 'planted_toy-1.0.dist-info/'
    with zipfile.ZipFile(shelf / 'planted_toy-1.0-py3-none-any.whl', 'w') as whl:
        whl.writestr(
            info + 'METADATA',
            'Metadata-Version: 2.1\nName: planted-toy\nVersion: 1.0\n',
        )
        whl.writestr(
            info + 'WHEEL',
            'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        )
        whl.writestr(info + 'RECORD', '')
    return shelf


def test_wheel_comes_through_pip(cache, shelf):
    name = 'planted_toy-1.0-py3-none-any.whl'
    digest = sha256(shelf / name)
    path = fetch_wheel('planted-toy==1.0', name, digest)
    assert path == cache / name
    (shelf / name).unlink()
    assert fetch_wheel('planted-toy==1.0', name, digest) == path


def test_wheel_that_pip_cannot_find(shelf):
    with pytest.raises(DownloadError, match=r'(?s)planted-toy==2.*COLDSTART_MIRROR'):
        fetch_wheel('planted-toy==2.0', 'planted_toy-2.0.whl', DIGEST)


def test_wheel_without_pip(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda _: None)
    with pytest.raises(DownloadError, match=r'has no pip.*ensurepip'):
        fetch_wheel('planted-toy==1.0', 'planted_toy.whl', DIGEST)
