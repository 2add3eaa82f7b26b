import dataclasses
from pathlib import Path

import pytest

from benchmarks.config import AGNNConfig, load_config

CONFIGS = sorted(Path('benchmarks/configs/agnn').resolve().glob('*.toml'))

MINIMAL = """
[data]
mode = "warm"
user_attributes = ["age"]
item_attributes = ["genre"]

[graph]
user_attributes = ["age"]
item_attributes = ["genre"]
"""


def write(tmp_path, text):
    path = tmp_path / 'run.toml'
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load(path):
    config = load_config(path)
    assert config.data.mode.replace('_', '-') in path.stem


def test_all_four_modes_are_shipped():
    modes = {load_config(path).data.mode for path in CONFIGS}
    assert modes == {'item_cold', 'user_cold', 'both_cold', 'warm'}


def test_values_reach_the_config(tmp_path):
    text = MINIMAL + '[train]\nepochs = 3\nlr = 1\n'
    config = load_config(write(tmp_path, text))
    assert config.data.user_attributes == ('age',)
    assert config.train.epochs == 3
    assert config.train.lr == 1.0
    assert isinstance(config.train.lr, float)


def test_config_is_frozen(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.data.mode = 'item_cold'


@pytest.mark.parametrize(
    ('addition', 'match'),
    [
        (
            '[train]\nepoch = 3',
            r"unknown key 'train.epoch'; did you mean 'train.epochs'",
        ),
        ('[trian]\nepochs = 3', r"unknown key 'trian'; did you mean 'train'"),
        ('[train]\nqqq = 3', r"unknown key 'train.qqq'; known are"),
        (
            '[train]\nepochs = "six"',
            r"'train.epochs' must be of type int \(got 'six'\)",
        ),
        ('[train]\nepochs = true', r"'train.epochs' must be of type int"),
        ('[train]\nlr = "fast"', r"'train.lr' must be of type float"),
        ('[train]\nrefit = 1', r"'train.refit' must be of type bool"),
    ],
)
def test_bad_keys_and_values_are_named(tmp_path, addition, match):
    with pytest.raises(ValueError, match=match):
        load_config(write(tmp_path, MINIMAL + addition))


@pytest.mark.parametrize(
    'setting',
    [
        *('train.ema_decay = 3.0', 'train.weight_decay = -1.0', 'train.lr = 0.0'),
        *('train.cold_users = 1.5', 'train.gradient_clip = 0.0', 'train.epochs = 0'),
        *('messages.folds = 1', 'messages.kinds = ["mood"]', 'messages.shared = -1'),
        *('model.hidden_channels = -1', 'graph.pool = 0.0', 'data.num_knots = 1'),
    ],
)
def test_values_are_what_the_recommender_s_rules_say(tmp_path, setting):
    name = setting.split()[0]
    section, key = name.split('.')
    rest = setting.removeprefix(name)
    text = MINIMAL if f'[{section}]' in MINIMAL else f'{MINIMAL}[{section}]\n'
    text = text.replace(f'[{section}]', f'[{section}]\n{key}{rest}')
    with pytest.raises(ValueError, match=rf"run.toml': '{name}' must be "):
        load_config(write(tmp_path, text))


def test_the_network_needs_no_hidden_layer(tmp_path):
    path = write(tmp_path, MINIMAL + '[model]\nhidden_channels = 0\n')
    assert load_config(path).model.hidden_channels == 0


def test_lacking_key_is_named(tmp_path):
    text = MINIMAL.replace('mode = "warm"\n', '')
    with pytest.raises(ValueError, match=r"key 'data.mode' is lacking"):
        load_config(write(tmp_path, text))


def test_list_of_names_is_checked(tmp_path):
    text = MINIMAL.replace('["age"]', '"age"')
    with pytest.raises(ValueError, match=r"must be a list of names \(got 'age'\)"):
        load_config(write(tmp_path, text))


def test_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, MINIMAL)
    with pytest.raises(ValueError, match=r'No config file .*did you mean .*run.toml'):
        load_config(tmp_path / 'runs.toml')


def test_broken_toml_names_the_file(tmp_path):
    with pytest.raises(ValueError, match=r'Cannot read config .*run.toml'):
        load_config(write(tmp_path, '[data'))


def test_section_must_be_a_table(tmp_path):
    with pytest.raises(ValueError, match=r"'train' must be a table, \[train\]"):
        load_config(write(tmp_path, 'train = 3\n' + MINIMAL))


def test_defaults_are_the_dataclass(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    train = {f.name: f.default for f in dataclasses.fields(AGNNConfig)}['train']
    assert config.train == train
