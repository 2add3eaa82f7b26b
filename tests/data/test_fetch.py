import hashlib
import http.server
import os
import threading
import zipfile

import pytest

from data.fetch import DownloadError, cache_dir, fetch, fetch_wheel

CONTENT = b'0123456789' * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = 'http://127.0.0.1:1/raw.bin'  # nobody listens there


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a whole file, half of one, another one and errors."""

    def do_GET(self):
        self.send_response(404 if 'missing' in self.path else 200)
        self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        content = CONTENT[::-1] if 'other' in self.path else CONTENT
        self.wfile.write(content[: 999 if 'half' in self.path else None])

    def log_message(self, *args):
        pass


@pytest.fixture(scope='module')
def server():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('COLDSTART_DATA', str(tmp_path / 'cache'))
    monkeypatch.delenv('COLDSTART_MIRROR', raising=False)
    return tmp_path / 'cache'


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / 'mirror'
    folder.mkdir()
    monkeypatch.setenv('COLDSTART_MIRROR', str(folder))
    return folder


def files(folder):
    return sorted(p.name for p in folder.rglob('*') if p.is_file())


def test_cache_dir_follows_the_variables(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / 'cache'
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    for name, value, expected in (
        ('COLDSTART_DATA', '~/raw', 'raw'),
        ('COLDSTART_DATA', '', '.cache/coldstart-pyg'),
        ('XDG_CACHE_HOME', str(tmp_path / 'xdg'), 'xdg/coldstart-pyg'),
        ('XDG_CACHE_HOME', 'relative', '.cache/coldstart-pyg'),
    ):
        monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
        monkeypatch.setenv(name, value)
        assert cache_dir() == tmp_path / expected


def test_a_file_is_downloaded_once(server, cache, tmp_path):
    path = fetch(f'{server}/a/raw.bin?download=1', SHA256.upper(), subdir='a/b')
    assert path == cache / 'a' / 'b' / 'raw.bin'
    assert path.read_bytes() == CONTENT
    assert fetch(NOWHERE, SHA256, subdir='a/b') == path
    assert fetch(NOWHERE, SHA256, cache=cache / 'a' / 'b') == path
    md5 = f'md5:{hashlib.md5(CONTENT).hexdigest()}'
    assert fetch(NOWHERE, ['0' * 64, md5], subdir='a/b') == path
    assert files(tmp_path) == ['raw.bin']


@pytest.mark.parametrize('content', [b'', b'garbage', CONTENT + b'x'])
def test_a_corrupt_file_in_the_cache_is_replaced(server, cache, content):
    cache.mkdir()
    (cache / 'raw.bin').write_bytes(content)
    with pytest.raises(DownloadError):
        fetch(NOWHERE, SHA256)
    assert fetch(f'{server}/raw.bin', SHA256).read_bytes() == CONTENT
    assert files(cache) == ['raw.bin']


def test_what_does_not_arrive_whole_is_not_kept(server, cache):
    for path in ['half.bin', 'missing.bin', 'other.bin']:
        with pytest.raises(DownloadError, match=path):
            fetch(f'{server}/{path}', SHA256)
        assert files(cache) == []


def test_a_mirror_is_matched_by_checksum(mirror, server, cache):
    for folder, content in (('a', b'another'), ('b', CONTENT)):
        (mirror / folder).mkdir()
        (mirror / folder / 'raw.bin').write_bytes(content)
    assert fetch(NOWHERE, SHA256) == mirror / 'b' / 'raw.bin'
    assert not cache.exists()  # a mirror is read in place
    (mirror / 'b' / 'raw.bin').write_bytes(b'changed')
    with pytest.raises(DownloadError) as caught:
        fetch(NOWHERE, SHA256)
    assert str(mirror / 'a' / 'raw.bin') in str(caught.value)
    assert fetch(f'{server}/raw.bin', SHA256) == cache / 'raw.bin'
    assert (mirror / 'b' / 'raw.bin').read_bytes() == b'changed'


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel in a folder that pip looks in instead of the network."""
    for name in [name for name in os.environ if name.startswith('PIP_')]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path))
    path = tmp_path / 'planted_toy-1.0-py3-none-any.whl'
    metadata = {
        'METADATA': 'Metadata-Version: 2.1\nName: planted-toy\nVersion: 1.0\n',
        'WHEEL': 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        'RECORD': '',
    }
    with zipfile.ZipFile(path, 'w') as archive:
        for name, text in metadata.items():
            archive.writestr(f'planted_toy-1.0.dist-info/{name}', text)
    return path


def test_a_wheel_comes_through_pip(cache, wheel, monkeypatch):
    checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
    path = fetch_wheel('planted-toy==1.0', wheel.name, checksum)
    assert path == cache / wheel.name
    wheel.unlink()
    assert fetch_wheel('planted-toy==1.0', path.name, checksum) == path
    with pytest.raises(DownloadError, match=r'(?s)planted-toy==2.*COLDSTART_MIRROR'):
        fetch_wheel('planted-toy==2.0', 'planted_toy-2.0.whl', SHA256)
    monkeypatch.setattr('importlib.util.find_spec', lambda _: None)
    with pytest.raises(DownloadError, match='ensurepip'):
        fetch_wheel('planted-toy==2.0', 'planted_toy-2.0.whl', SHA256)
