import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.agnn import main
from benchmarks.peers import QUICK
from data.splits import split
from data.synthetic import planted_tables

CONFIGS = Path('benchmarks/configs/agnn').resolve()
ITEM_COLD = str(CONFIGS / 'ml100k-item-cold.toml')
# What differs between two runs of the same thing.
VOLATILE = ('command', 'environment', 'time', 'peak_memory_mb')


def smoke(out, *more, config=ITEM_COLD):
    return main([config, '--smoke', '--out', str(out), *more])


def measured(out, seed=0, config='ml100k-item-cold', part='split-0'):
    path = out / 'agnn' / config / part / f'seed-{seed}' / 'report.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    return {key: value for key, value in content.items() if key not in VOLATILE}


@pytest.mark.parametrize('mode', ['item-cold', 'user-cold', 'both-cold', 'warm'])
def test_smoke_run_writes_report_table_and_plots(tmp_path, capsys, mode):
    name = f'ml100k-{mode}'
    assert smoke(tmp_path, config=str(CONFIGS / f'{name}.toml')) == 0
    report = measured(tmp_path, config=name)
    for part in ('val', 'test'):
        for metric in ('rmse', 'mae'):
            assert 0 < report['metrics'][part][metric] < 5
    assert set(report['peers']) == set(QUICK)
    assert 0 < report['metrics']['test']['ndcg'] <= 1
    counted = [row['ratings'] for row in report['breakdown']['item_popularity']]
    assert sum(counted) == report['data']['num_test']
    assert 0 <= report['best_epoch'] < len(report['history'])
    folder = tmp_path / 'agnn' / name / 'split-0'
    for plot in ('learning-curves.png', 'peers.png'):
        assert (folder / plot).read_bytes().startswith(b'\x89PNG')
    printed = capsys.readouterr().out
    assert 'AGNN' in printed
    assert (folder / 'table.md').read_text(encoding='utf-8').strip() in printed


def test_same_seed_same_digits_and_another_seed_others(tmp_path):
    smoke(tmp_path / 'a', '--seeds', '0', '1')
    smoke(tmp_path / 'b')
    assert measured(tmp_path / 'a') == measured(tmp_path / 'b')
    assert measured(tmp_path / 'a')['metrics'] != measured(tmp_path / 'a', 1)['metrics']


def test_split_files_reproduce_the_seeded_split(tmp_path):
    parts = split(planted_tables(), 'item_cold', seed=0)
    columns = ['user', 'item', 'rating']
    files = [tmp_path / 'train.csv', tmp_path / 'test.csv']
    for frame, path in zip((parts.fit, parts.test), files, strict=True):
        frame[columns].to_csv(path, index=False)
    smoke(tmp_path / 'a')
    smoke(tmp_path / 'b', '--split-files', *map(str, files))
    part = f'files-{tmp_path.name}-train'
    seeded, filed = measured(tmp_path / 'a'), measured(tmp_path / 'b', part=part)
    assert seeded['metrics'] == filed['metrics']
    assert seeded['peers'] == filed['peers']


def test_ratings_that_are_all_equal(tmp_path, capsys):
    parts = split(planted_tables(), 'item_cold', seed=0)
    files = [str(tmp_path / name) for name in ('train.csv', 'test.csv')]
    for frame, path in zip((parts.fit, parts.test), files, strict=True):
        frame[['user', 'item', 'rating']].assign(rating=3).to_csv(path, index=False)
    assert smoke(tmp_path, '--split-files', *files) == 2
    assert "'ratings' are all 3, so nothing" in capsys.readouterr().err


def test_resume_keeps_finished_seeds(tmp_path, capsys):
    smoke(tmp_path)
    path = tmp_path / 'agnn' / 'ml100k-item-cold' / 'split-0' / 'seed-0' / 'report.json'
    before = path.stat().st_mtime_ns
    smoke(tmp_path, '--resume', '--seeds', '0', '1')
    assert path.stat().st_mtime_ns == before
    assert 'done before' in capsys.readouterr().err


@pytest.fixture
def quick(monkeypatch):
    """Nothing is trained, and peers are but counted."""
    calls = []

    def run_peers(tables, parts, refit, names):
        calls.append(names)
        return {name: {'not_run': 'to be quick'} for name in names}

    scores = {part: {'rmse': 1.0, 'mae': 1.0} for part in ('val', 'test')}
    measured = {'metrics': scores, 'time': {}}
    monkeypatch.setattr('benchmarks.agnn.run_peers', run_peers)
    monkeypatch.setattr('benchmarks.agnn.run_agnn', lambda *_: dict(measured))
    monkeypatch.setattr('benchmarks.agnn.learn_messages', lambda *_: None)
    monkeypatch.setattr('benchmarks.agnn.plot_runs', lambda *_: None)
    return calls


def own_config(folder, **train):
    path = folder / 'own.toml'
    lines = [f'{key} = {value}' for key, value in train.items()]
    text = Path(ITEM_COLD).read_text(encoding='utf-8').split('[train]')[0]
    path.write_text('\n'.join([text, '[train]', *lines]), encoding='utf-8')
    return str(path)


@pytest.mark.parametrize('left', ['report.json', 'settings.json'])
def test_only_a_run_of_the_same_settings_is_gone_on_with(tmp_path, capsys, quick, left):
    smoke(tmp_path, config=own_config(tmp_path))
    seed = tmp_path / 'agnn' / 'own' / 'split-0' / 'seed-0'
    for path in {seed / 'report.json', seed / 'settings.json'}:
        if path != seed / left:
            path.unlink()
    before = (seed / left).read_bytes()
    other = own_config(tmp_path, lr=0.5)
    assert smoke(tmp_path, '--resume', config=other) == 2
    error = capsys.readouterr().err
    assert f"seed-0/{left}' is of another run: 'train.lr' was 0.003 and is 0.5" in error
    assert (seed / left).read_bytes() == before
    # Begun anew it is another run.
    assert smoke(tmp_path, config=other) == 0
    assert measured(tmp_path, config='own')['config']['train']['lr'] == 0.5


def test_another_test_part_and_other_peers_are_not_gone_on_with(
    tmp_path, capsys, quick
):
    parts = split(planted_tables(), 'item_cold', seed=0)
    names = [tmp_path / name for name in ('train.csv', 'test.csv', 'other.csv')]
    frames = parts.fit, parts.test, parts.test.iloc[1:]
    for path, frame in zip(names, frames, strict=True):
        frame[['user', 'item', 'rating']].to_csv(path, index=False)
    train, test, other = map(str, names)
    smoke(tmp_path, '--split-files', train, test)
    assert smoke(tmp_path, '--resume', '--split-files', train, other) == 2
    assert "'split_files' was ['train.csv', 'test.csv']" in capsys.readouterr().err
    frames[2].to_csv(test, index=False)
    assert smoke(tmp_path, '--resume', '--split-files', train, test) == 2
    assert "'num_test' was" in capsys.readouterr().err

    smoke(tmp_path)
    assert smoke(tmp_path, '--resume', '--seeds', '0', '1', '--peers', 'all') == 2
    assert "lacks the peers ['cmfrec', 'lightgbm'" in capsys.readouterr().err


def test_peers_of_the_same_split_are_kept_when_the_model_changes(tmp_path, quick):
    smoke(tmp_path, config=own_config(tmp_path))
    for resumed, train, times in (
        (1, {'lr': 0.5}, 1),  # of the model only
        (2, {'refit': 'false'}, 2),  # peers are refitted, too
    ):
        other = own_config(tmp_path, **train)
        arguments = ['--resume', '--seeds', str(resumed)]
        assert smoke(tmp_path, *arguments, config=other) == 0
        assert len(quick) == times
        assert set(measured(tmp_path, resumed, 'own')['peers']) == set(QUICK)


@pytest.mark.slow
def test_killed_and_resumed_run_ends_with_the_same_digits(tmp_path):
    smoke(tmp_path / 'whole')
    arguments = [ITEM_COLD, '--smoke', '--out', str(tmp_path / 'broken')]
    folder = tmp_path / 'broken' / 'agnn' / 'ml100k-item-cold' / 'split-0' / 'seed-0'
    process = subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.agnn', *arguments],
        cwd=CONFIGS.parents[2],
        stderr=subprocess.DEVNULL,
    )
    # Killed as soon as the first epoch is on disk, in the middle of the run.
    deadline = time.monotonic() + 120
    while not (folder / 'select' / 'checkpoints' / 'last.ckpt').exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / 'report.json').exists()
    assert main([*arguments, '--resume']) == 0
    assert measured(tmp_path / 'whole') == measured(tmp_path / 'broken')


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        (['no-such.toml'], 'No config file'),
        ([ITEM_COLD, '--smoke', '--device', 'tpu'], "must be 'cpu' or 'cuda'"),
        ([ITEM_COLD, '--smoke', '--split-files', 'a.csv', 'b.csv'], 'a.csv'),
        ([ITEM_COLD, '--smoke', '--split-seed', '-1'], '-1'),
        ([ITEM_COLD, '--smoke', '--peers', 'magic'], "'magic'"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(capsys, arguments, match, tmp_path):
    assert main([*arguments, '--out', str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ')
    assert match in error
    assert '\n' not in error
