import zipfile

import pytest

from data.archives import opened, read_member


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'toy.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/b.json', b'0123456789')
        archive.writestr('../outside', b'x')
    return path


def test_a_member_is_read_up_to_its_limit(path):
    with opened(path, 'archive') as archive:
        assert read_member(archive, 'a/b.json', limit=10) == b'0123456789'
        with pytest.raises(ValueError, match=r"'a/b.json' of toy.zip .* than 9 bytes"):
            read_member(archive, 'a/b.json', limit=9)


def test_nothing_is_ever_written(path, tmp_path):
    with opened(path, 'archive') as archive:
        assert read_member(archive, '../outside') == b'x'
    assert [p.name for p in tmp_path.rglob('*')] == ['toy.zip']
    assert not (tmp_path.parent / 'outside').exists()


def test_a_member_by_another_name_is_not_found(path):
    with opened(path, 'archive') as archive:
        for name in ('b.json', 'a/../a/b.json'):
            with pytest.raises(ValueError, match='holds no'):
                read_member(archive, name)


def test_encrypted_member(path):
    content = bytearray(path.read_bytes())
    for mark in (b'PK\x03\x04', b'PK\x01\x02'):
        flags = content.index(mark) + (6 if mark[2] == 3 else 8)
        content[flags] |= 1
    path.write_bytes(content)
    message = r"cannot unpack 'a/b\.json'.*password"
    with opened(path, 'archive') as archive, pytest.raises(ValueError, match=message):
        read_member(archive, 'a/b.json')


def test_not_a_zip_file(tmp_path):
    (tmp_path / 'page.zip').write_text('<html>sign in first</html>')
    archive = opened(tmp_path / 'page.zip', 'archive')
    with pytest.raises(ValueError, match=r'page\.zip is damaged'):
        archive.__enter__()


def test_a_member_that_lies_outside_the_file(path):
    # All offsets are wrong by the four bytes that are lost in front.
    path.write_bytes(path.read_bytes()[4:])
    with opened(path, 'archive') as archive, pytest.raises(ValueError, match='unpack'):
        read_member(archive, 'a/b.json')
