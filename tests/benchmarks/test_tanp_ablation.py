import json

import pytest

from benchmarks import tanp_ablation
from benchmarks.tanp_ablation import PUBLISHED, WHOLE, ablation_table, configs, main

LESS = 'no average of the weights'


def row(name, split, ndcg, **more):
    test = {'tie_precision@5': 0.5, 'ndcg@5': 0.5, 'ndcg@10': ndcg, **more}
    return {'name': name, 'split': split, 'seed': 0, 'test': test}


def cells(table, name):
    line = next(line for line in table.splitlines() if line.startswith(f'| {name} '))
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_every_change_changes_something_and_one_thing_at_a_time():
    made = configs()
    assert made[WHOLE] != made[PUBLISHED]
    for name, changes in tanp_ablation.CHANGES.items():
        if name != WHOLE:
            assert made[name] != made[WHOLE]
            for section in set(vars(made[name])) - set(changes):
                assert getattr(made[name], section) == getattr(made[WHOLE], section)


def test_table_pairs_runs_of_one_split():
    rows = [
        row(LESS, 1, 0.80, log_loss=0.5),
        row(WHOLE, 1, 0.90, log_loss=0.3),
        row(WHOLE, 2, 0.94, log_loss=0.3),
        row(LESS, 2, 0.86, log_loss=0.4),
        row(PUBLISHED, 2, 0.74),
    ]
    table = ablation_table(rows)
    assert table.index(WHOLE) < table.index(LESS) < table.index(PUBLISHED)
    assert cells(table, WHOLE)[4:] == ['0.920 ± 0.028', '', '']
    # Differences of .2 and .1, and of -.10 and -.08: mean -.09, standard error .01.
    expected = ['0.830 ± 0.042', '0.150 ± 0.050', '-0.090 ± 0.010']
    assert cells(table, LESS)[4:] == expected
    # The published model estimates no probabilities; of one run there is no error.
    assert cells(table, PUBLISHED)[1] == cells(table, PUBLISHED)[5] == ''
    assert cells(table, PUBLISHED)[6] == '-0.2000'


@pytest.mark.slow
def test_smoke_run_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    few = {WHOLE: {}, 'without': {'model': {'attention_heads': 0}}}
    monkeypatch.setattr(tanp_ablation, 'CHANGES', {WHOLE: few[WHOLE]})
    arguments = ['--smoke', '--splits', '0', '--out', str(tmp_path)]
    assert main(arguments) == 0
    path = tmp_path / 'tanp-ablation.json'
    first = json.loads(path.read_text(encoding='utf-8'))['runs']
    assert [run['name'] for run in first] == [WHOLE, PUBLISHED]
    assert all({'git_commit', 'git_dirty'} <= run.keys() for run in first)
    monkeypatch.setattr(tanp_ablation, 'CHANGES', few)
    assert main(arguments) == 0
    runs = json.loads(path.read_text(encoding='utf-8'))['runs']
    assert runs[:2] == first
    assert [run['name'] for run in runs[2:]] == ['without']
    assert 'without' in capsys.readouterr().out
    # What was done with other settings is not taken for done.
    few['without'] = {'model': {'processes': 0}}
    assert main(arguments) == 0
    again = json.loads(path.read_text(encoding='utf-8'))['runs']
    assert again[:2] == first
    assert [run['name'] for run in again[2:]] == ['without']
    assert again[2]['config']['model']['processes'] == 0
    assert again[2]['test'] != runs[2]['test']


def test_errors_are_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch):
    def missing():
        raise OSError('nothing here')

    monkeypatch.setattr(tanp_ablation, 'load_lastfm', missing)
    assert main(['--out', str(tmp_path)]) == 2
    assert capsys.readouterr().err == 'error: nothing here\n'
