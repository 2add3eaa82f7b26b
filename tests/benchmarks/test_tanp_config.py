from pathlib import Path

import pytest

from benchmarks.config import load_config
from benchmarks.tanp_config import ModelConfig, TaNPConfig, arguments_of

CONFIGS = sorted(Path('benchmarks/configs/tanp').resolve().glob('*.toml'))


def load(tmp_path, text):
    path = tmp_path / 'run.toml'
    path.write_text('[data]\ndataset = "lastfm"\n' + text, encoding='utf-8')
    return load_config(path, TaNPConfig)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load(path):
    config = load_config(path, TaNPConfig)
    assert path.stem.startswith(config.data.dataset.replace('-', ''))


def test_the_published_model_is_shipped_with_its_settings():
    path = next(path for path in CONFIGS if path.stem == 'lastfm-as-published')
    config = load_config(path, TaNPConfig)
    assert config.model.user_ids
    assert not config.model.squared_distance
    assert config.train.tasks == 'episodes'
    assert config.train.context_sizes == (20,)
    assert config.train.uniform_clusters
    assert not config.train.kl_per_point
    assert (config.train.optimizer, config.train.lr) == ('adam', 1e-4)
    assert config.train.patience is None


def test_defaults_are_the_model_s_own(tmp_path):
    assert load(tmp_path, '').model == ModelConfig()


def test_arguments_become_fields():
    class Thing:
        def __init__(self, size: int, width: int = 3, name: str | None = None):
            pass

    kind = arguments_of(Thing, ('size',))
    assert kind(width=4) == kind(4, None)
    assert (kind().width, kind().name) == (3, None)
    assert 'Thing' in kind.__doc__


@pytest.mark.parametrize(
    ('addition', 'match'),
    [
        ('[modle]', r"unknown key 'modle'; did you mean 'model'"),
        ('[model]\nmodulaton = "film"', r"did you mean 'model.modulation'"),
        ('[model]\ndropout = "much"', r"'model.dropout' must be of type float"),
        ('[train]\ncontext_sizes = 20', r'must be a list of whole numbers \(got 20'),
        ('[train]\ncontext_sizes = [1.5]', r'must be a list of whole numbers'),
        ('[train]\ncontext_sizes = "none"', r'must be a list of whole numbers'),
        ('[train]\nepochs = "none"', r"'train.epochs' must be of type int"),
    ],
)
def test_bad_keys_and_values_are_named(tmp_path, addition, match):
    with pytest.raises(ValueError, match=match):
        load(tmp_path, addition)


@pytest.mark.parametrize(
    ('section', 'key', 'value'),
    [
        *(('model', 'attention_heads', '-1'), ('model', 'processes', '-1')),
        *(('model', 'task_channels', '[]'), ('model', 'task_channels', '[0]')),
        *(('train', 'monitor', '"foo"'), ('train', 'ema_decay', '3.0')),
        *(('train', 'weight_decay', '-1.0'), ('train', 'min_task_size', '0')),
        ('statistics', 'damping', '-1.0'),
    ],
)
def test_values_are_what_the_recommender_s_rules_say(tmp_path, section, key, value):
    with pytest.raises(ValueError, match=rf"run.toml': '{section}.{key}' must be "):
        load(tmp_path, f'[{section}]\n{key} = {value}\n')


@pytest.mark.parametrize('name', ['val_loss', 'val_ndcg@10', 'val_mse'])
def test_what_validation_gives_may_be_monitored(tmp_path, name):
    assert load(tmp_path, f'[train]\nmonitor = "{name}"').train.monitor == name


def test_optional_values_can_be_switched_off(tmp_path):
    text = '[train]\npatience = "none"\nquery_sizes = "none"\ngradient_clip = 1\n'
    config = load(tmp_path, text)
    assert config.train.patience is None
    assert config.train.query_sizes is None
    assert config.train.gradient_clip == 1.0
    # Where a text is expected, 'none' is one.
    with pytest.raises(ValueError, match='No config file'):
        load_config(tmp_path / 'none.toml', TaNPConfig)


def test_dataset_is_lacking(tmp_path):
    path = tmp_path / 'run.toml'
    path.write_text('[data]\n', encoding='utf-8')
    with pytest.raises(ValueError, match=r"key 'data.dataset' is lacking"):
        load_config(path, TaNPConfig)
