import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.episode_peers import PEERS
from benchmarks.records import read_reports
from benchmarks.tanp import main
from benchmarks.tanp_plots import main as plots
from benchmarks.tanp_tables import size_table, summary_table
from data.lastfm import ADDRESS, SHA256
from data.synthetic import planted_tables
from data.tastes import planted_tastes
from data.web import fetch_address
from tanp import split_episodes

CONFIGS = Path('benchmarks/configs/tanp').resolve()
LASTFM = str(CONFIGS / 'lastfm.toml')
# Peers that cost little, where a test is not about peers.
QUICK = ('--peers', 'popularity', 'item_knn')
# What differs between two runs of the same thing.
VOLATILE = ('command', 'environment', 'time', 'peak_memory_mb')


def smoke(out, *more, config=LASTFM):
    return main([config, '--smoke', '--out', str(out), *more])


def measured(out, seed=0, config='lastfm', part='split-0'):
    path = out / 'tanp' / config / part / f'seed-{seed}' / 'report.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    return {key: value for key, value in content.items() if key not in VOLATILE}


@pytest.mark.parametrize('name', ['lastfm', 'ml100k', 'lastfm-as-published'])
def test_smoke_run_writes_report_tables_and_plots(tmp_path, capsys, name):
    assert smoke(tmp_path, config=str(CONFIGS / f'{name}.toml')) == 0
    report = measured(tmp_path, config=name)
    labels = 'gaussian' if name == 'ml100k' else 'bernoulli'
    assert set(report['peers']) == set(PEERS[labels])
    for scores in (report, *report['peers'].values()):
        assert list(scores['support_sizes']) == ['1', '2', '5']
        for part in ('val', 'test'):
            for metric in ('ndcg@10', 'tie_precision@5', 'precision@5', 'ap@10'):
                assert 0 <= scores['metrics'][part][metric] <= 1
        assert scores['support_sizes']['5'] == scores['metrics']['test']
    assert set(report['sensitivity']) == {'flipped_labels', 'another_user'}
    assert 0 <= report['best_epoch'] < len(report['history'])
    folder = tmp_path / 'tanp' / name / 'split-0'
    plots = ['learning-curves', 'support-size']
    plots += ['clusters'] * ('clusters' in report)
    plots += ['calibration'] * ('calibration' in report)
    for plot in plots:
        assert (folder / f'{plot}.png').read_bytes().startswith(b'\x89PNG')
    printed = capsys.readouterr().out
    assert 'TaNP' in printed
    assert 'Support sensitivity' in printed
    assert (folder / 'table.md').read_text(encoding='utf-8').strip() in printed


def test_clusters_are_exported_with_the_users_they_belong_to(tmp_path):
    published = str(CONFIGS / 'lastfm-as-published.toml')
    smoke(tmp_path, *QUICK, config=published)
    folder = tmp_path / 'tanp' / 'lastfm-as-published' / 'split-0' / 'seed-0'
    table = pd.read_csv(folder / 'clusters.csv')
    tables = planted_tastes()
    split = split_episodes(
        tables.ratings,
        tables.users['user'],
        tables.items['item'],
        support_size=5,
        min_size=15,
        seed=0,
    )
    users = tables.users['user'].iloc[split.test.user.numpy()]
    assert table['user'].tolist() == users.tolist()
    shares = table.drop(columns='user').to_numpy()
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-3)
    report = measured(tmp_path, config='lastfm-as-published')
    assert report['clusters'] == shares.tolist()


def test_same_seed_same_digits_and_another_seed_others(tmp_path):
    smoke(tmp_path / 'a', *QUICK, 'random', 'svd', '--seeds', '0', '1')
    smoke(tmp_path / 'b', *QUICK, 'random', 'svd')
    assert measured(tmp_path / 'a') == measured(tmp_path / 'b')
    assert measured(tmp_path / 'a')['metrics'] != measured(tmp_path / 'a', 1)['metrics']


def test_split_seed_changes_the_split(tmp_path):
    smoke(tmp_path, *QUICK)
    smoke(tmp_path, *QUICK, '--split-seed', '7')
    first, other = measured(tmp_path), measured(tmp_path, part='split-7')
    assert first['peers'] != other['peers']
    assert other['config']['split_seed'] == 7


def test_own_tables(tmp_path):
    ratings = tmp_path / 'ratings.csv'
    planted_tastes().ratings.to_csv(ratings, index=False)
    config = tmp_path / 'own.toml'
    config.write_text(
        f'[data]\ndataset = "files"\nratings = "{ratings.as_posix()}"\n'
        'support_size = 5\nmin_size = 15\n[train]\nepochs = 2\n',
        encoding='utf-8',
    )
    assert main([str(config), *QUICK, '--out', str(tmp_path)]) == 0
    assert measured(tmp_path, config='own')['data']['num_interactions'] == 120 * 24


def test_resume_keeps_finished_seeds(tmp_path, capsys):
    smoke(tmp_path, *QUICK)
    path = tmp_path / 'tanp' / 'lastfm' / 'split-0' / 'seed-0' / 'report.json'
    before = path.stat().st_mtime_ns
    smoke(tmp_path, *QUICK, '--resume', '--seeds', '0', '1')
    assert path.stat().st_mtime_ns == before
    assert 'done before' in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_resumed_run_ends_with_the_same_digits(tmp_path):
    smoke(tmp_path / 'whole', *QUICK)
    arguments = [LASTFM, '--smoke', *QUICK, '--out', str(tmp_path / 'broken')]
    folder = tmp_path / 'broken' / 'tanp' / 'lastfm' / 'split-0' / 'seed-0'
    process = subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.tanp', *arguments],
        cwd=CONFIGS.parents[2],
        stderr=subprocess.DEVNULL,
    )
    # Killed as soon as the first epoch is on disk, in the middle of the run.
    deadline = time.monotonic() + 120
    while not (folder / 'checkpoints' / 'last.ckpt').exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / 'report.json').exists()
    assert main([*arguments, '--resume']) == 0
    assert measured(tmp_path / 'whole') == measured(tmp_path / 'broken')


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('tasks = "warn"', "'train.tasks' must be 'warm' or 'episodes' (got 'warn')"),
        ('context_sizes = [1, 2, 3]', "'train.context_sizes' must hold"),
        ('optimizer = "adm"', "'optimizer' must be one of"),
    ],
)
def test_bad_training_settings(tmp_path, capsys, monkeypatch, text, match):
    monkeypatch.setattr('benchmarks.tanp.run_episode_peers', lambda *_: {})
    ratings = tmp_path / 'ratings.csv'
    planted_tastes().ratings.to_csv(ratings, index=False)
    config = tmp_path / 'own.toml'
    config.write_text(
        f'[data]\ndataset = "files"\nratings = "{ratings.as_posix()}"\n'
        f'support_size = 5\nmin_size = 15\n[train]\n{text}\n',
        encoding='utf-8',
    )
    assert main([str(config), '--out', str(tmp_path)]) == 2
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    ('ratings', 'match'),
    [
        (planted_tables(num_users=90).ratings, "'data.relevant' must be from 1"),
        (
            planted_tastes().ratings.assign(rating=1),
            "'ratings' are all 1, so nothing can be",
        ),
    ],
)
def test_ratings_that_are_all_relevant(tmp_path, capsys, monkeypatch, ratings, match):
    monkeypatch.setattr('benchmarks.tanp.run_seeds', lambda *_: pytest.fail('too far'))
    path = tmp_path / 'ratings.csv'
    ratings.to_csv(path, index=False)
    config = tmp_path / 'own.toml'
    text = f'[data]\ndataset = "files"\nratings = "{path.as_posix()}"\n'
    config.write_text(text + 'support_size = 5\nmin_size = 15\n', encoding='utf-8')
    assert main([str(config), '--out', str(tmp_path)]) == 2
    assert match in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        (['no-such.toml'], 'No config file'),
        ([LASTFM, '--smoke', '--device', 'tpu'], "must be 'cpu' or 'cuda'"),
        ([LASTFM, '--smoke', '--peers', 'magic'], "(got 'magic')"),
        (['TOML', '[data]\ndataset = "lastfn"'], "'data.dataset' must be one of"),
        (['TOML', '[data]\ndataset = "files"'], "'data.ratings' is lacking"),
        (
            ['TOML', '[data]\ndataset = "files"\nratings = "nowhere.csv"'],
            "no file at 'nowhere.csv'",
        ),
        (['TOML', '[data]\ndatset = "lastfm"'], "did you mean 'data.dataset'"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(capsys, arguments, match, tmp_path):
    if arguments[0] == 'TOML':
        path = tmp_path / 'bad.toml'
        path.write_text(arguments[1], encoding='utf-8')
        arguments = [str(path)]
    assert main([*arguments, '--out', str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith('error: ')
    assert match in error
    assert '\n' not in error


@pytest.mark.realdata
@pytest.mark.parametrize(
    ('part', 'folder'), [('train', 'training'), ('test', 'testing')]
)
def test_episodes_of_seed_2020_are_the_authors_own(lastfm, part, folder):
    # Their archive holds, as text, the episodes that they trained and tested on.
    users, items = lastfm.users['user'], lastfm.items['item']
    split = split_episodes(lastfm.ratings, users, items, seed=2020)
    episodes = getattr(split, part)
    path = fetch_address(ADDRESS, SHA256, subdir='lastfm_20')
    with zipfile.ZipFile(path) as archive:
        for number in range(len(episodes)):
            task = episodes.select(torch.tensor([number]))
            for kind, index in (
                ('supp', task.support_index()),
                ('query', task.query_index()),
            ):
                name = f'data/lastfm_20/{folder}/evidence/{kind}_x_{number}_u_m_ids.txt'
                lines = archive.read(name).decode().split()
                expected = list(zip(lines[::2], lines[1::2], strict=True))
                ids = items.iloc[task.item[index].numpy()]
                user = users.iloc[int(task.user)]
                assert [(str(user), str(item)) for item in ids] == expected


def test_peers_that_were_not_run_are_said_so(tmp_path):
    assert smoke(tmp_path, '--peers', 'none') == 0
    assert measured(tmp_path)['peers'] == {}
    assert smoke(tmp_path, '--peers', 'popularity', '--split-seed', '7') == 0
    reports = read_reports(tmp_path)
    assert [set(report['peers']) for report in reports] == [set(), {'popularity'}]
    for table in (summary_table(reports), size_table(reports)):
        rows = [[c.strip() for c in r.split('|')[1:-1]] for r in table.splitlines()]
        peer, tanp = rows[2:]
        assert peer == ['popularity', *['not run'] * (len(peer) - 1)]
        assert 'not run' not in tanp


def test_a_mistake_does_not_cost_the_report_that_was_there(tmp_path):
    assert smoke(tmp_path, '--peers', 'none') == 0
    before = measured(tmp_path)
    assert smoke(tmp_path, '--peers', 'popularty') == 2
    assert measured(tmp_path) == before


def test_summary_figure_over_splits(tmp_path, capsys):
    smoke(tmp_path, *QUICK)
    smoke(tmp_path, '--peers', 'popularity', '--split-seed', '7')
    folder = tmp_path / 'tanp' / 'lastfm'
    assert plots([str(folder)]) == 0
    assert (folder / 'support-size.png').read_bytes().startswith(b'\x89PNG')
    assert plots([str(tmp_path / 'nothing')]) == 2
    assert 'no report.json' in capsys.readouterr().err
    assert plots(['benchmarks/results/agnn/ml100k-warm']) == 2
    assert 'must hold reports of benchmarks.tanp alone' in capsys.readouterr().err
