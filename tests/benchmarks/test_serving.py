import json

import pytest
import torch

from benchmarks.serving import USERS, main, serving_table, strangers, timed


def test_strangers_label_distinct_items_and_ask_for_nothing():
    episodes = strangers(3, 50)
    assert episodes.num_support.tolist() == [20] * 3
    assert episodes.num_query.tolist() == [0] * 3
    for task in range(3):
        items = episodes.item[20 * task : 20 * task + 20]
        assert len(items.unique()) == 20
        assert int(items.max()) < 50
    assert torch.equal(strangers(3, 50).item, episodes.item)


def test_the_first_times_do_not_count(monkeypatch):
    clock, costs = [0.0], iter([9, 9, 9, 1, 3, 2])
    monkeypatch.setattr('benchmarks.serving.time.process_time', lambda: clock[0])

    def call():
        clock[0] += next(costs)

    assert timed(call, 3) == [1, 2, 3]


def test_smoke_run_writes_times(tmp_path, monkeypatch):
    monkeypatch.setattr('benchmarks.serving.USERS', (1, 3))
    assert main(['--smoke', '--repeats', '1', '--out', str(tmp_path)]) == 0
    content = json.loads((tmp_path / 'serving.json').read_text(encoding='utf-8'))
    assert [row['users'] for row in content['timings']] == [1, 3]
    for row in content['timings']:
        assert 0 < row['quickest_seconds'] <= row['seconds']
        assert row['per_user_ms'] == pytest.approx(1e3 * row['seconds'] / row['users'])
    assert USERS[-1] == 1000


def test_table_says_how_long_a_user_waits():
    timing = {'seconds': 1.25, 'quickest_seconds': 1.125, 'per_user_ms': 1.25}
    table = serving_table({'timings': [{'users': 1000, **timing}]})
    assert '| 1,000         |  1.2500 |       1.2 |            1.1250 |' in table


def test_bad_repeats(capsys, tmp_path):
    assert main(['--smoke', '--repeats', '0', '--out', str(tmp_path)]) == 2
    assert '--repeats must be at least 1' in capsys.readouterr().err
