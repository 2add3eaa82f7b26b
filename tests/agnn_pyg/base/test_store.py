import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from agnn_pyg.base.store import (
    check_place,
    load_module,
    read_folder,
    read_tensors,
    write_folder,
    write_tensors,
)

CONFIG = {'name': 'Žižkov', 'values': [1, 2.5, None]}


def writing(**tensors):
    return lambda folder: write_tensors(folder, tensors)


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / 'saved', 'thing', 3, CONFIG, writing(x=torch.ones(2)))
    return tmp_path / 'saved'


def test_round_trip(folder):
    assert read_folder(folder, 'thing', 3) == CONFIG
    assert torch.equal(read_tensors(folder)['x'], torch.ones(2))


def test_writing_again_replaces_the_whole(folder):
    write_folder(folder, 'thing', 3, {'name': 'b'}, writing())
    assert read_folder(folder, 'thing', 3) == {'name': 'b'}
    assert read_tensors(folder) == {}
    assert [p.name for p in folder.parent.iterdir()] == ['saved']


def test_a_failure_leaves_what_was_there(folder):
    with pytest.raises(TypeError):
        write_folder(folder, 'thing', 3, {'name': object()}, writing())
    assert read_folder(folder, 'thing', 3) == CONFIG
    assert [p.name for p in folder.parent.iterdir()] == ['saved']


def test_something_else_in_the_way(tmp_path):
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'dear.txt').write_text('diary')
    with pytest.raises(ValueError, match='is there already and is no saved model'):
        write_folder(tmp_path / 'notes', 'thing', 3, {}, writing())
    with pytest.raises(ValueError, match=r"There is no folder '.*nowhere'"):
        write_folder(tmp_path / 'nowhere' / 'x', 'thing', 3, {}, writing())


def test_places_to_write_to(folder, tmp_path):
    check_place(folder, 'thing')
    with pytest.raises(ValueError, match=r'is there already .* model of other; name'):
        check_place(folder, 'other')
    (folder / 'config.json').write_text('{"model_type": "another"}')
    with pytest.raises(ValueError, match='is there already'):
        check_place(folder, 'thing')
    with pytest.raises(ValueError, match=r"There is no folder '.*nowhere'"):
        check_place(tmp_path / 'nowhere' / 'x', 'thing')
    check_place(tmp_path / 'new', 'thing')


def test_an_empty_folder_is_no_hindrance():
    with tempfile.TemporaryDirectory() as folder:
        write_folder(folder, 'thing', 3, CONFIG, writing(x=torch.ones(2)))
        assert read_both(folder)[0] == CONFIG
        left = Path(folder).parent.glob(f'.{Path(folder).name}.*')
        assert not list(left)


@pytest.mark.parametrize('seed', range(20))
def test_a_flipped_bit_is_found(folder, seed):
    content = bytearray((folder / 'state.pt').read_bytes())
    place = np.random.default_rng(seed).integers(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    (folder / 'state.pt').write_bytes(content)
    with pytest.raises(ValueError, match=r"state.pt' is .* damaged: its checksum diff"):
        read_folder(folder, 'thing', 3)


def test_a_folder_without_checksums_is_read(folder):
    content = json.loads((folder / 'config.json').read_text())
    del content['sha256']
    (folder / 'config.json').write_text(json.dumps(content))
    assert read_both(folder)[0] == CONFIG


def read_both(folder):
    return read_folder(folder, 'thing', 3), read_tensors(folder)


class Evil:
    def __reduce__(self):
        return print, ('executed',)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda f: (f / 'config.json').unlink(), 'is no folder of a saved model'),
        (lambda f: (f / 'config.json').write_text('{'), 'is damaged'),
        (lambda f: (f / 'config.json').write_text('[]'), 'something else than a saved'),
        (lambda f: rewrite(f, kind='other'), 'something else than a saved thing'),
        (lambda f: rewrite(f, sha256=[1]), r'is damaged \(sha256 is \[1\]\)'),
        (lambda f: rewrite(f, version=4), 'is of version 4 .* reads version 3'),
        (lambda f: (f / 'state.pt').unlink(), "state.pt' is missing or damaged"),
        (lambda f: (f / 'state.pt').write_bytes(b'xx'), 'missing or damaged'),
        (lambda f: torch.save(Evil(), f / 'state.pt'), 'missing or damaged'),
    ],
)
def test_what_it_does_not_know_is_refused(folder, damage, message, capsys):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        read_both(folder)
    assert 'executed' not in capsys.readouterr().out


def test_nothing_is_executed_whatever_the_checksums_say(folder, capsys):
    torch.save(Evil(), folder / 'state.pt')
    with pytest.raises(ValueError, match='missing or damaged'):
        read_tensors(folder)
    assert 'executed' not in capsys.readouterr().out


def rewrite(folder, **changes):
    content = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(content | changes))


def test_a_module_of_another_size_is_not_even_made():
    made = []

    def make(size=10**6):
        made.append(size)
        return torch.nn.Linear(size, size)

    with pytest.raises(ValueError, match='of other sizes'):
        load_module(make, torch.nn.Linear(2, 2).state_dict())
    assert len(made) == 1
    module = load_module(lambda: make(2), torch.nn.Linear(2, 2).state_dict())
    assert module.weight.device.type == 'cpu'
