"""Stores are replaced whole, damage is refused, and nothing is executed."""

import hashlib
import json
import os
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest
import torch

from agnn_pyg.base.store import check_writable, read_notes, read_store, write_store
from tests.interruption.killing import every_moment

CONFIG = {'name': 'Žižkov', 'values': [1, 2.5, None]}


def save(path, value=1.0, config=CONFIG, **notes):
    tensors = {'x': {'y': torch.full((2,), value)}}
    write_store(path, 'thing', 3, config, tensors, **notes)


def load(path):
    config, tensors = read_store(path, 'thing', 3)
    return config, tensors['x']['y'].tolist()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / 'saved')
    return tmp_path / 'saved'


def test_round_trip_of_plain_data_and_nested_tensors(folder):
    assert load(folder) == (CONFIG, [1.0, 1.0])
    config = {'a': np.float32(0.5), 'b': np.arange(2), 'c': (1, np.int64(2))}
    save(folder, config=config)
    assert load(folder)[0] == {'a': 0.5, 'b': [0, 1], 'c': [1, 2]}


def test_writing_again_replaces_both_files(folder):
    save(folder, 2.0, {'name': 'b'})
    assert load(folder) == ({'name': 'b'}, [2.0, 2.0])
    assert names(folder) == ['model.zip']
    # The same content has the same bytes.
    before = [path.read_bytes() for path in sorted(folder.iterdir())]
    save(folder, 2.0, {'name': 'b'})
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == before


def test_a_failure_leaves_the_old_store(folder):
    before = names(folder)
    with pytest.raises(TypeError, match='is no plain data'):
        save(folder, 2.0, {'name': object()})
    with pytest.raises(AttributeError):  # what PyTorch cannot write
        write_store(folder, 'thing', 3, {}, {'x': lambda: None})
    assert load(folder) == (CONFIG, [1.0, 1.0])
    assert names(folder) == before


def test_places_to_write_to(folder, tmp_path):
    check_writable(folder, 'thing')
    check_writable(tmp_path / 'new', 'thing')
    (tmp_path / 'empty').mkdir()
    check_writable(tmp_path / 'empty', 'thing')
    with pytest.raises(ValueError, match='saved'):
        check_writable(folder, 'other')
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'dear.txt').write_text('diary')
    (tmp_path / 'file').touch()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'config.json').write_text('{"model_type": "another"}')
    for name in ('notes', 'file', 'other'):
        with pytest.raises(ValueError, match=name):
            save(tmp_path / name)
    with pytest.raises(ValueError, match='nowhere'):
        save(tmp_path / 'nowhere' / 'x')
    if os.geteuid():
        folder.chmod(0o555)
        with pytest.raises(ValueError, match='read-only'):
            check_writable(folder, 'thing')
        folder.chmod(0o755)


def members(folder):
    """The archive is one for other readers, too."""
    with ZipFile(folder / 'model.zip') as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(folder, **changes):
    """Writes other members, with a checksum that is right."""
    buffer = BytesIO()
    with ZipFile(buffer, 'w') as archive:
        for name, content in {**members(folder), **changes}.items():
            archive.writestr(name, content)
    checksum = hashlib.sha256(buffer.getvalue()).hexdigest() + '\n'
    (folder / 'model.zip').write_bytes(checksum.encode() + buffer.getvalue())


class Evil:
    def __reduce__(self):
        return print, ('executed',)


def test_damage_and_code_are_refused(tmp_path, capsys):
    evil = BytesIO()
    torch.save({'x': Evil()}, evil)
    damages = {
        lambda f: (f / 'model.zip').unlink(): 'holds no saved model',
        lambda f: (f / 'model.zip').write_text('{}'): 'damaged.*checksum',
        lambda f: rewrite(f, **{'tensors.pt': b'xx'}): 'damaged',
        lambda f: rewrite(f, **{'tensors.pt': evil.getvalue()}): 'damaged',
        lambda f: write_store(f, 'thing', 4, {}, {}): 'version 4 .* version 3',
    }
    for text in ('{', '[]', '[' * 10**6):
        damages[lambda f, t=text: rewrite(f, **{'config.json': t})] = 'damaged'
    for number, (damage, match) in enumerate(damages.items()):
        folder = tmp_path / str(number)
        save(folder)
        damage(folder)
        with pytest.raises(ValueError, match=match):
            load(folder)
    assert 'executed' not in capsys.readouterr().out
    write_store(tmp_path / 'other', 'other', 3, {}, {})
    with pytest.raises(ValueError, match='a saved other, no thing'):
        load(tmp_path / 'other')
    assert json.loads(members(tmp_path / 'other')['config.json'])['kind'] == 'other'


def test_notes_are_kept_beside_the_config(folder):
    save(folder, separator=';', more=[1])
    assert read_notes(folder) == {'separator': ';', 'more': [1]}
    assert load(folder) == (CONFIG, [1.0, 1.0])
    save(folder)
    assert read_notes(folder) == {}


def test_a_killed_writer_leaves_the_old_store_or_the_new(tmp_path):
    folder, kills = tmp_path / 'saved', 0
    for _ in every_moment(lambda: save(folder, 0.0, {'value': 0.0})):
        check_writable(folder, 'thing')  # at the first writing, too
    save(folder, 0.0, {'value': 0.0})
    for _ in every_moment(lambda: save(folder, 1.0, {'value': 1.0})):
        kills += 1
        config, values = load(folder)
        assert values == 2 * [config['value']]
        save(folder, 0.0, {'value': 0.0})
    assert kills >= 2
