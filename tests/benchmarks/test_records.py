import multiprocessing
import re

import pytest

from benchmarks.records import (
    KEYS,
    RUNS,
    SETTINGS,
    add_line,
    add_rows,
    hardware_line,
    origin,
    peak_memory_mb,
    read_lines,
    read_perf,
    read_runs,
)


def row(split=0, part='test', **metrics):
    keys = dict.fromkeys(KEYS, 'x')
    return {**keys, 'split': split, 'part': part, 'seed': None, **metrics}


def test_rows_come_back_with_new_columns_and_as_numbers(tmp_path):
    add_rows(tmp_path / 'deep', [row(0, rmse=1 / 3, commit='0123')])
    add_rows(tmp_path / 'deep', [row(1, mae=2.0, seconds=1e-9)])
    found = read_runs(tmp_path / 'deep')
    assert found.columns.tolist()[:10] == [*KEYS, 'rmse', 'mae']
    assert found['split'].tolist() == ['0', '1']
    assert found['rmse'].tolist()[0] == pytest.approx(1 / 3, abs=1e-7)
    assert found['rmse'].isna().tolist() == [False, True]
    assert found['seconds'].tolist()[1] == 1e-9
    assert found['commit'].tolist() == ['0123', '']
    # A row of the same keys is replaced.
    add_rows(tmp_path / 'deep', [row(0, rmse=2.0)])
    assert sorted(read_runs(tmp_path / 'deep')['rmse'].dropna()) == [2.0]


def add_some(folder, number):
    for split in range(5):
        add_rows(folder, [row(f'{number}-{split}', rmse=1.0)])
        add_line(folder, SETTINGS, 'settings', {'number': number, 'split': split})


def test_processes_may_add_at_once(tmp_path):
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=add_some, args=(tmp_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(read_runs(tmp_path)) == 15
    assert len(read_lines(tmp_path, SETTINGS)) == 15


def test_lines_stand_once_under_a_hash_of_their_content(tmp_path):
    one = add_line(tmp_path, SETTINGS, 'settings', {'a': 1, 'b': [2]})
    same = add_line(tmp_path, SETTINGS, 'settings', {'b': [2], 'a': 1})
    other = add_line(tmp_path, SETTINGS, 'settings', {'a': 2})
    assert one == same != other
    lines = read_lines(tmp_path, SETTINGS)
    assert lines[0] == {'settings': one, 'a': 1, 'b': [2]}
    assert len(lines) == 2


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=RUNS):
        read_runs(tmp_path)
    assert read_perf(tmp_path).empty
    (tmp_path / RUNS).write_text('suite,estimator\na,b\n')
    with pytest.raises(ValueError, match=r"runs\.csv.*'settings'"):
        read_runs(tmp_path)
    (tmp_path / RUNS).write_bytes(b'suite,\xff\n')
    with pytest.raises(ValueError, match=r'runs\.csv'):
        read_runs(tmp_path)
    (tmp_path / SETTINGS).write_text('{"settings": ')
    with pytest.raises(ValueError, match=SETTINGS):
        read_lines(tmp_path, SETTINGS)


def test_origin_names_hardware_versions_and_commit(tmp_path):
    found = origin(tmp_path)
    assert origin(tmp_path) == found
    (line,) = read_lines(tmp_path, 'environments.jsonl')
    assert line['environment'] == found['environment']
    assert re.fullmatch(r'([0-9a-f]{10}\+?)?', found['commit'])
    text = hardware_line([found['environment'], 'unknown'], tmp_path)
    assert line['cpu'] in text
    assert line['torch'] in text
    assert peak_memory_mb() is None or peak_memory_mb() > 50
