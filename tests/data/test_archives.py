import zipfile

import pytest

from data.archives import open_zip, read_member


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'toy.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/b.json', b'0123456789')
        archive.writestr('../outside', b'x')
    return path


def read(path, member='a/b.json', **options):
    with open_zip(path) as archive:
        return read_member(archive, member, **options)


def test_a_member_is_read_up_to_its_limit(path):
    assert read(path, limit=10) == b'0123456789'
    with pytest.raises(ValueError, match=r'a/b\.json.*toy\.zip'):
        read(path, limit=9)


def test_damaged_archives_are_named(path, tmp_path):
    (tmp_path / 'page.zip').write_text('<html>sign in first</html>')
    with pytest.raises(ValueError, match=r'page\.zip'):
        read(tmp_path / 'page.zip')
    # All offsets are wrong by the four bytes that are lost in front.
    path.write_bytes(path.read_bytes()[4:])
    with pytest.raises(ValueError, match=r'toy\.zip'):
        read(path)
