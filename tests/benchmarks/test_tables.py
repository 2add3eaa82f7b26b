import copy

import pytest

from benchmarks.agnn_tables import (
    lead_table,
    read_agnn,
    rmse_table,
    run_table,
    summary_table,
)
from benchmarks.markdown import cells, markdown
from benchmarks.records import read_reports, write_json
from benchmarks.tables import RESULTS, fill, main, readme_blocks

REPORT = {
    'config': {
        'name': 'ml100k-item-cold',
        'seed': 0,
        'split_seed': 0,
        'data': {'mode': 'item_cold'},
    },
    'environment': {
        'cpu': 'Some CPU',
        'threads': 1,
        'device': 'cpu',
        'python': '3.11',
        'torch': '2.13',
        'torch_geometric': '2.8',
    },
    'data': {'num_fit': 80000, 'num_test': 20000},
    'metrics': {
        'val': {'rmse': 1.0, 'mae': 0.8},
        'test': {'rmse': 1.0, 'mae': 0.8},
    },
    'peers': {
        name: {
            'metrics': {
                'val': {'rmse': 1.2, 'mae': 1.0},
                'test': {'rmse': 1.1, 'mae': 0.9},
            }
        }
        for name in ('global_mean', 'damped_biases')
    },
}


def report(seed=0, split=0, rmse=1.0, mode='item_cold'):
    made = copy.deepcopy(REPORT)
    made['config'].update(seed=seed, split_seed=split, data={'mode': mode})
    made['metrics']['test']['rmse'] = rmse
    return made


def test_run_table_gives_mean_and_sample_deviation_over_seeds():
    table = run_table(
        [report(seed, rmse=r) for seed, r in enumerate((1.0, 1.01, 1.02))]
    )
    assert '1.010 ± 0.010' in table
    assert '80,000 ratings' in table
    assert 'model seeds 0, 1, 2' in table


def test_fewer_than_three_seeds_are_shown_one_by_one():
    table = run_table([report(0, rmse=1.0), report(1, rmse=1.02)])
    assert '1.0000, 1.0200' in table
    assert '±' not in table


def test_summary_averages_seeds_within_splits_first():
    reports = [
        report(0, 0, 1.00),
        report(1, 0, 1.02),
        report(0, 1, 1.04),
        report(1, 1, 1.06),
    ]
    table = summary_table(reports)
    # Splits average 1.01 and 1.05: mean 1.03, sample deviation .0283.
    assert '1.030 ± 0.028 / 0.8000 ± 0.0000' in table
    assert '2 × 2' in table
    # Both peers have 1.1 on both splits.
    assert '-0.070 ± 0.028' in table


def test_summary_says_what_was_not_run():
    one = report()
    one['peers']['myfm'] = {'not_run': 'no such library'}
    rows = {}
    for line in summary_table([one]).splitlines():
        first, *others = (cell.strip() for cell in line.strip('| ').split('|'))
        rows[first] = others
    assert rows['damped biases'] == ['1.1000 / 0.9000', *['not run'] * 3]
    assert rows['RMSE, AGNN − best peer'] == ['-0.1000', *['not run'] * 3]
    assert rows['Bayesian FM (myfm)'] == ['not run'] * 4
    assert 'not run' in run_table([one])


def test_as_published_is_one_more_peer_where_it_ran(tmp_path):
    for number, one in enumerate((report(0, 0), report(1, 0), report(0, 1))):
        write_json(tmp_path / 'agnn' / f'x{number}' / 'report.json', one)
    one = report(0, 0, 1.25)
    one['config']['name'] += '-as-published'
    write_json(tmp_path / 'published' / 'agnn' / 'y' / 'report.json', one)
    reports, fresh = read_agnn(tmp_path)
    assert fresh == []
    assert [r['peers'].get('published', {}) for r in reports] == [
        {'metrics': one['metrics']},
        {},
        {},
    ]
    rows = cells(rmse_table(reports))
    assert ['AGNN as published', '1.2500', *['not run'] * 3] in rows
    # Of one of two splits.
    assert ['AGNN − best peer', '-0.1000 ± 0.0000', *['not run'] * 3] in rows


def test_the_best_peer_must_have_run_on_every_split():
    reports = [report(0, 0, 1.0), report(0, 1, 1.0)]
    # Better on one split, absent from the other: no peer to compare with.
    reports[0]['peers']['ridge'] = {'metrics': {'test': {'rmse': 0.9, 'mae': 0.7}}}
    assert '-0.1000 ± 0.0000' in summary_table(reports)


def test_markdown_is_aligned():
    lines = markdown(('a', 'b'), [('long name', '1'), ('x', '22')]).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_cells_reads_what_markdown_writes():
    table = [('a', 'b c'), ('long name', '1 ± 2 / 3'), ('x', '')]
    assert cells(markdown(table[0], table[1:])) == [list(row) for row in table]


def test_leads_are_paired_and_counted():
    reports = [report(0, 0, 1.0), report(0, 1, 1.3)]
    rows = {first: others for first, *others in cells(lead_table(reports))}
    # The peer has 1.1 on both splits: leads of -.1 and .2.
    assert rows['damped biases'][0] == '0.05 ± 0.21 (1 of 2)'
    assert rows['damped biases'][1] == 'not run'


def test_the_short_table_leaves_out_whom_nobody_ran():
    names = [row[0] for row in cells(rmse_table([report()]))[1:]]
    assert names == ['global mean', 'damped biases', 'AGNN', 'AGNN − best peer']


def test_fill_replaces_only_its_blocks():
    text = 'before\n<!-- {0} -->\nold\n<!-- /{0} -->\nafter'.format('t results')
    new = {'t results': 'new', 'elsewhere results': 'not here'}
    assert fill(text, new) == text.replace('old', 'new')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('nothing here', "lacks a place '<!-- t results -->'"),
        ('<!-- t results -->\nno end', "lacks one '<!-- t results -->' and one"),
        ('<!-- u results -->\n<!-- /u results -->', "is called 'u results'; known"),
    ],
)
def test_fill_refuses_a_text_without_its_place(text, message):
    with pytest.raises(ValueError, match=message):
        fill(text, {'t results': 'new'})


def test_main_writes_pages(tmp_path, capsys):
    write_json(tmp_path / 'agnn' / 'x' / 'report.json', report())
    page = tmp_path / 'page.md'
    marks = [f'<!-- {name} -->\n<!-- /{name} -->' for name in readme_blocks(tmp_path)]
    page.write_text('\n'.join(marks), encoding='utf-8')
    assert main(['--results', str(tmp_path), '--write', str(page)]) == 0
    assert 'item cold' in page.read_text(encoding='utf-8')
    assert main(['--results', str(tmp_path), '--write', str(tmp_path / 'no')]) == 2
    assert 'error:' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('folder', 'message'), [('no', "No folder '"), ('.', 'holds no results')]
)
def test_pages_are_not_emptied_where_there_are_no_results(
    tmp_path, capsys, folder, message
):
    page = tmp_path / 'page.md'
    page.write_text('<!-- agnn results -->\nold\n<!-- /agnn results -->')
    arguments = ['--results', str(tmp_path / folder), '--write', str(page)]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert 'old' in page.read_text()


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('agnn/x/report.json', {}, "lacks the key 'config'"),
        ('agnn/x/report.json', {'config': 3}, "must hold an object as 'config'"),
        ('tanp/lastfm/report.json', {'config': {}}, "lacks the key 'seed'"),
        ('ablation/x/report.json', {}, "lacks the key 'config'"),
        ('scale.json', {}, "lacks the key 'points'"),
        ('scale.json', {'points': 3}, 'is of a wrong shape'),
        ('tanp-ablation.json', {'runs': [1]}, 'is of a wrong shape'),
        ('layer.json', {'timings': [{}]}, "lacks the key 'vary'"),
    ],
)
def test_a_file_of_a_wrong_shape_is_named(tmp_path, capsys, name, content, message):
    write_json(tmp_path / name, content)
    assert main(['--results', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: '{tmp_path / name}' ")
    assert message in error


def test_pages_agree_with_the_committed_reports():
    blocks = readme_blocks()
    shown = ''
    for page in (RESULTS.parents[1] / 'README.md', RESULTS.parent / 'README.md'):
        text = page.read_text(encoding='utf-8')
        assert fill(text, blocks) == text
        shown += text
    for name in blocks:
        assert f'<!-- {name} -->' in shown, f'{name} is on no page'


def test_committed_reports_are_whole():
    reports = read_reports(RESULTS / 'agnn')
    assert reports
    for each in reports:
        assert not each['config']['smoke']
        assert each['metrics']['test']['rmse'] > 0
        assert each['environment']['torch']
