import dataclasses
import statistics

import pytest

from benchmarks.ablation import main
from benchmarks.ablation_tables import ablation_table, ablation_tables, differences
from benchmarks.agnn import smoke_config
from benchmarks.config import load_config
from benchmarks.records import read_reports, write_json
from benchmarks.variants import ALONE, BASE, VARIANTS, base_of, override

CONFIG = 'benchmarks/configs/agnn/ml100k-item-cold.toml'


def report(variant, rmse, split=0, seed=0):
    return {
        'config': {'variant': variant, 'split_seed': split, 'seed': seed},
        'metrics': {'test': {'rmse': rmse, 'mae': 0.8, 'ndcg': 0.7}},
    }


@pytest.mark.parametrize('name', VARIANTS)
def test_each_variant_changes_what_it_names(name):
    config = load_config(CONFIG)
    changed = override(config, VARIANTS[name])
    base = override(config, VARIANTS[base_of(name)])
    assert (changed == base) == (name == BASE)


def test_parts_of_the_network_alone_are_paired_with_it_in_a_table_below():
    part = f'{ALONE}, no linear skip'
    reports = [report(BASE, 1.0), report(ALONE, 1.2), report(part, 1.5)]
    assert differences(reports, part) == pytest.approx([0.3])
    whole, alone = ablation_tables(reports).values()
    assert part not in whole
    assert '+0.2000' in whole
    assert alone == ablation_table(reports, ALONE)
    assert f'RMSE − {ALONE}' in alone
    assert '+0.3000' in alone
    assert BASE not in alone


@pytest.mark.slow
def test_smoke_run_writes_reports_table_and_chart(tmp_path, capsys):
    variants = [BASE, 'no messages', 'SAGEConv', 'no extended VAE']
    arguments = [CONFIG, '--smoke', '--out', str(tmp_path), '--variants', *variants]
    assert main(arguments) == 0
    folder = tmp_path / 'ablation' / 'ml100k-item-cold'
    reports = read_reports(folder)
    assert {r['config']['variant'] for r in reports} == set(variants)
    assert len({r['metrics']['test']['rmse'] for r in reports}) == len(variants)
    assert (folder / 'ablation.png').read_bytes().startswith(b'\x89PNG')
    assert (folder / 'table.md').read_text() in capsys.readouterr().out


def test_differences_are_paired_within_splits_first():
    reports = [
        report(BASE, 1.0, 0, 0),
        report(BASE, 1.2, 0, 1),
        report(BASE, 2.0, 1, 0),
        report('no neighbours', 1.1, 0, 0),
        report('no neighbours', 1.5, 0, 1),
        report('no neighbours', 2.0, 1, 0),
        # No run of the whole model to pair this one with:
        report('no neighbours', 9.0, 2, 0),
    ]
    assert differences(reports, 'no neighbours') == pytest.approx([0.2, 0.0])
    error = statistics.stdev([0.2, 0.0]) / 2**0.5
    assert f'+0.1000 ± {error:.4f}' in ablation_table(reports)


def test_one_split_pairs_seeds():
    reports = [report(BASE, 1.0, seed=s) for s in range(3)]
    reports += [report('plain mean', 1.0 + s / 10, seed=s) for s in range(3)]
    assert differences(reports, 'plain mean') == pytest.approx([0, 0.1, 0.2])


def test_unknown_variants_are_refused(capsys, tmp_path):
    assert main([CONFIG, '--smoke', '--variants', 'x', '--out', str(tmp_path)]) == 2
    assert "(got 'x')" in capsys.readouterr().err


def test_reports_of_variants_that_are_no_more(tmp_path, capsys):
    folder = tmp_path / 'ablation' / 'ml100k-item-cold' / 'old' / 'split-0' / 'seed-0'
    write_json(folder / 'report.json', report('old', 1.0))
    assert main([CONFIG, '--smoke', '--out', str(tmp_path)]) == 2
    assert "report.json' is of a variant 'old', which" in capsys.readouterr().err


@pytest.mark.slow
def test_what_would_change_nothing_is_not_run(tmp_path):
    warm = CONFIG.replace('item-cold', 'warm')
    variants = [BASE, 'no simulated cold nodes']
    assert main([warm, '--smoke', '--out', str(tmp_path), '--variants', *variants]) == 0
    (run,) = read_reports(tmp_path)
    assert run['config']['variant'] == BASE


@pytest.mark.parametrize('options', [[], ['--resume']])
def test_runs_of_other_settings_are_not_averaged(tmp_path, capsys, options):
    arguments = [CONFIG, '--smoke', '--out', str(tmp_path), *options]
    config = dataclasses.asdict(smoke_config(load_config(CONFIG))[0])
    folder = tmp_path / 'ablation' / 'ml100k-item-cold' / 'as-configured' / 'split-5'
    made = report(BASE, 1.0, split=5)
    made['config'] |= {**config, 'smoke': False}
    write_json(folder / 'seed-0' / 'report.json', made)
    assert main(arguments) == 2
    assert "seed-0/report.json' is of another run: 'smoke' was False and is True" in (
        capsys.readouterr().err
    )


def test_variants_that_change_nothing_are_no_run(tmp_path, capsys):
    warm = CONFIG.replace('item-cold', 'warm')
    variants = ['--variants', 'no simulated cold nodes']
    assert main([warm, '--smoke', '--out', str(tmp_path), *variants]) == 2
    assert "'--variants' must name one that changes something" in (
        capsys.readouterr().err
    )


def test_splits_are_named_in_one_way(monkeypatch):
    seen = []
    monkeypatch.setattr('benchmarks.ablation.run', lambda args: seen.append(args))
    assert main([CONFIG, '--split-seeds', '3', '4']) == 0
    assert seen[0].split_seeds == [3, 4]
    assert not hasattr(seen[0], 'split_seed')
