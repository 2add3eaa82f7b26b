import hashlib
import http.server
import threading

import pytest

from data.download import ChecksumError, DownloadError
from data.web import fetch_address

CONTENT = b'0123456789' * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a whole file, half of one and errors."""

    def do_GET(self):
        if self.path.startswith('/missing'):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 999 if 'half' in self.path else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv('COLDSTART_MIRROR', raising=False)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()
    thread.join()


def test_downloads_once(server, tmp_path):
    address = f'{server}/a/raw.bin?download=1'
    path = fetch_address(address, DIGEST, subdir='toy', cache=tmp_path)
    assert path == tmp_path / 'toy' / 'raw.bin'
    assert path.read_bytes() == CONTENT
    same = fetch_address('http://127.0.0.1:1/raw.bin', DIGEST, cache=tmp_path / 'toy')
    assert same == path


def test_progress_is_for_terminals_only(server, tmp_path, monkeypatch, capsys):
    fetch_address(f'{server}/raw.bin', DIGEST, cache=tmp_path / 'a')
    assert capsys.readouterr().err == ''
    monkeypatch.setattr('sys.stderr.isatty', lambda: True, raising=False)
    fetch_address(f'{server}/raw.bin', DIGEST, cache=tmp_path / 'b')
    assert capsys.readouterr().err.endswith('raw.bin: 0.2 of 0.2 MB\n')


@pytest.mark.parametrize('path', ['half.bin', 'missing.bin'])
def test_what_does_not_arrive_whole_is_not_kept(server, tmp_path, path):
    with pytest.raises((DownloadError, ChecksumError), match=path):
        fetch_address(f'{server}/{path}', DIGEST, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_file(server, tmp_path):
    with pytest.raises(ChecksumError, match=r'raw\.bin arrived corrupt'):
        fetch_address(f'{server}/raw.bin', '0' * 64, cache=tmp_path)


def test_offline_message_names_the_address_and_the_ways_out(tmp_path, server):
    address = 'http://127.0.0.1:1/raw.bin'  # nobody listens there
    with pytest.raises(DownloadError) as caught:
        fetch_address(address, DIGEST, cache=tmp_path)
    for part in (address, DIGEST, 'COLDSTART_MIRROR', 'COLDSTART_DATA'):
        assert part in str(caught.value)
