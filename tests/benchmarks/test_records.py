import json
import math

import pytest

from benchmarks.records import environment, peak_memory_mb, read_reports, write_json


def test_environment_tells_hardware_and_versions():
    found = environment('cpu')
    assert found['device'] == 'cpu'
    assert found['torch']
    assert found['threads'] >= 1
    json.dumps(found, allow_nan=False)


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
