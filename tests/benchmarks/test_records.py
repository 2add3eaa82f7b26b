import dataclasses
import json
import math

import pytest

from benchmarks.config import load_config
from benchmarks.records import (
    check_settings,
    content_of,
    differing,
    environment,
    peak_memory_mb,
    read_json,
    read_reports,
    write_json,
)
from benchmarks.tables import RESULTS
from benchmarks.tanp_config import TaNPConfig

CONFIGS = RESULTS.parent / 'configs'


def test_environment_tells_hardware_and_versions():
    found = environment('cpu')
    assert found['device'] == 'cpu'
    assert found['torch']
    assert found['threads'] >= 1
    json.dumps(found, allow_nan=False)


def test_what_no_repository_tells_is_not_said_to_be_clean(monkeypatch):
    assert isinstance(environment('cpu')['git_dirty'], bool)
    monkeypatch.setenv('PATH', '')
    found = environment('cpu')
    assert found['git_commit'] is found['git_dirty'] is None


def test_reports_come_in_natural_order(tmp_path):
    for seed in (10, 2, 1):
        write_json(tmp_path / f'seed-{seed}' / 'report.json', {'seed': seed})
    assert [r['seed'] for r in read_reports(tmp_path)] == [1, 2, 10]


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / 'report.json'
    write_json(path, {'value': 1})
    with pytest.raises(ValueError, match='not JSON compliant'):
        write_json(path, {'value': math.nan})
    assert json.loads(path.read_text(encoding='utf-8')) == {'value': 1}
    assert [p.name for p in tmp_path.iterdir()] == ['report.json']


def test_peak_memory_is_that_of_a_process_with_torch():
    peak = peak_memory_mb()
    assert peak is None or 50 < peak < 1e6


def test_a_key_that_is_lacking_is_looked_for_in_a_file_that_is_named(tmp_path):
    path = tmp_path / 'report.json'
    write_json(path, {'config': {'seed': 0}})
    with pytest.raises(ValueError, match=r"report.json' lacks the key 'smoke'"):
        read_json(path)['config']['smoke']
    with (
        pytest.raises(ValueError, match=r"report.json' is of a wrong shape"),
        content_of(path),
    ):
        read_json(path)['config']['seed']['value']


@pytest.mark.parametrize('name', ['agnn', 'fresh/agnn', 'tanp'])
def test_committed_reports_are_of_the_committed_configs(name):
    kind = (TaNPConfig,) if name == 'tanp' else ()
    for report in read_reports(RESULTS / name)[::5]:
        config = CONFIGS / name[-4:] / f'{report["config"]["name"]}.toml'
        check_settings(report, load_config(config, *kind), smoke=False)


def test_settings_of_a_wrong_shape_are_named(tmp_path):
    path = tmp_path / 'report.json'
    write_json(path, {'config': {'train': 3}})
    config = load_config(CONFIGS / 'tanp' / 'lastfm.toml', TaNPConfig)
    with pytest.raises(ValueError, match=r"report.json' is of a wrong shape"):
        check_settings(read_json(path), config)


def test_settings_that_came_later_had_their_default():
    config = load_config(CONFIGS / 'tanp' / 'lastfm.toml', TaNPConfig)
    report = {'config': json.loads(json.dumps(dataclasses.asdict(config)))}
    report['config']['train']['no_more'] = 1
    del report['config']['train']['kl_weight']
    assert differing(report, config) == {}
    train = dataclasses.replace(config.train, kl_weight=2.0, lr=1.0)
    others = differing(report, dataclasses.replace(config, train=train), smoke=True)
    assert others == {
        'smoke': (None, True),
        'train.lr': (config.train.lr, 1.0),
        'train.kl_weight': (1.0, 2.0),
    }
