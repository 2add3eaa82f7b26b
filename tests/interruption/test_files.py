"""A killed writer leaves the old file or the new one, and nothing half written.

Stores are killed in tests/agnn_pyg/base/test_store.py; tables are written alike.
"""

import hashlib

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
