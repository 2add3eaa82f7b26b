import copy

import pytest

from benchmarks.records import write_json
from benchmarks.tables import readme_blocks
from benchmarks.tanp_tables import (
    run_tables,
    sensitivity,
    size_table,
    summary_table,
)

SCORES = dict.fromkeys(('tie_precision@5', 'ndcg@5', 'tie_ap@5', 'ap@10', 'auc'), 0.5)


def scores(ndcg, **more):
    return {**SCORES, 'ndcg@10': ndcg, **more}


def report(ndcg=0.9, seed=0, split=0, peer=0.8):
    return copy.deepcopy(
        {
            'config': {
                'name': 'lastfm',
                'seed': seed,
                'split_seed': split,
                'data': {'support_size': 20},
            },
            'data': {'labels': 'implicit', 'num_warm_users': 1310}
            | {'num_test_episodes': 66},
            'metrics': {'test': scores(ndcg, log_loss=0.3)},
            'support_sizes': {'1': scores(0.7), '20': scores(ndcg)},
            'sensitivity': {
                'flipped_labels': scores(ndcg - 0.25),
                'another_user': scores(ndcg - 0.125),
            },
            'peers': {
                'item_knn': {
                    'metrics': {'test': scores(peer)},
                    'support_sizes': {'1': scores(0.6), '20': scores(peer)},
                }
            },
        }
    )


def row(table, name):
    lines = [line for line in table.splitlines() if line.startswith(f'| {name} ')]
    return [cell.strip() for cell in lines[0].strip('|').split('|')]


def test_run_tables_show_models_sizes_and_sensitivity():
    text = run_tables([report(v, seed) for seed, v in enumerate((0.90, 0.91, 0.92))])
    assert '1,310 training users, 66 test users with 20 support' in text
    assert 'model seeds 0, 1, 2' in text
    assert row(text, 'TaNP')[4] == '0.910 ± 0.010'
    # Peers have no seed, and this one estimates no probabilities.
    assert row(text, 'item-kNN')[4] == '0.8000'
    assert row(text, 'item-kNN')[7] == ''
    curve = text[text.index('nDCG@10 by support size') :]
    assert row(curve, 'item-kNN')[1:] == ['0.6000', '0.8000']
    assert 'all support labels flipped costs 0.2500 ± 0.0000' in text
    assert "another user's support costs 0.1250" in text


def test_sensitivity_is_a_drop_a_report():
    reports = [report(0.9), report(0.8)]
    assert sensitivity(reports, 'flipped_labels') == pytest.approx([0.25, 0.25])


def test_sensitivity_averages_seeds_within_splits():
    reports = [report(0.9, seed, split) for split in (0, 1) for seed in (0, 1)]
    for made, cost in zip(reports, (0.1, 0.3, 0.2, 0.4), strict=True):
        made['sensitivity']['another_user']['ndcg@10'] = 0.9 - cost
    assert sensitivity(reports, 'another_user') == pytest.approx([0.2, 0.3])


def test_summary_averages_seeds_within_splits_and_pairs_splits():
    reports = [
        report(0.90, 0, 0, peer=0.80),
        report(0.92, 1, 0, peer=0.80),
        report(0.95, 0, 1, peer=0.83),
        report(0.97, 1, 1, peer=0.83),
    ]
    table = summary_table(reports)
    # Splits average .91 and .96: mean .935, sample deviation .0354.
    assert row(table, 'TaNP')[4] == '0.935 ± 0.035'
    # Leads of .11 and .13: mean .12, deviation .01414, times the root of 1/2 + 2/7.
    assert row(table, 'item-kNN')[7] == '0.120 ± 0.013'
    assert row(table, 'TaNP')[7] == ''
    assert row(size_table(reports), 'TaNP')[1:] == ['0.700', '0.935']


def test_one_split_has_no_error():
    assert row(summary_table([report(0.9)]), 'item-kNN')[7] == '0.1000'


def test_readme_block_holds_what_was_run(tmp_path):
    environment = {
        'cpu': 'Some CPU',
        'threads': 1,
        'device': 'cpu',
        'python': '3.11',
        'torch': '2.13',
        'torch_geometric': '2.8',
    }
    for split in (1, 2):
        path = tmp_path / 'tanp' / 'lastfm' / f'split-{split}' / 'report.json'
        write_json(path, report(0.9, split=split) | {'environment': environment})
    block = readme_blocks(tmp_path)['tanp results']
    assert '**Last.FM** (splits × model seeds: 2 × 1)' in block
    assert row(block, 'TaNP')[4] == '0.9000 ± 0.0000'
    assert 'Measured on: Some CPU' in block
    assert '**MovieLens-100K**: not run.' in block
