import json

import pytest

from benchmarks.scale import attributes_of, main, measure, points
from benchmarks.scale_plots import exponent, scale_table


def point(nodes, seconds, **options):
    return {
        'part': 'graph',
        'table': 'films',
        'nodes': nodes,
        'seconds': seconds,
        'peak_memory_mb': 512.0,
        'edges': 10 * nodes,
        'recall': 0.98,
    } | options


def test_the_exponent_of_a_power_is_found():
    powers = [point(n, 3e-6 * n**1.25) for n in (1000, 5000, 90_000)]
    assert exponent(powers, 'seconds') == pytest.approx(1.25)
    assert exponent(powers, 'peak_memory_mb') == pytest.approx(0)
    assert exponent(powers[:1], 'seconds') is None


def test_table_gives_the_exponent_of_large_tables():
    sizes = {10_000: 1.0, 100_000: 20.0, 1_000_000: 200.0}
    content = {'points': [point(n, s) for n, s in sizes.items()]}
    lines = scale_table(content).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert [row[1] for row in cells] == ['10,000', '100,000', '1,000,000']
    assert [row[2] for row in cells] == ['1.0', '20.0', '200.0']
    assert [row[-1] for row in cells] == ['', '', '1.00']
    assert cells[0][3:5] == ['0.50', '0.980']


def test_tables_repeat_and_have_the_sizes_asked_for():
    one, again = (attributes_of('films', 200) for _ in range(2))
    assert one.index.equal(again.index)
    assert one.num_nodes == 200
    assert 7 < one.multi_hot().nnz / 200 < 11
    graphs = [p for p in points((5, 10**6)) if p['part'] != 'epoch']
    assert {p['nodes'] for p in graphs} == {5, 10**6}
    assert all(p['nodes'] == 5 for p in graphs if p['part'] != 'graph')


@pytest.mark.slow
def test_smoke_run_goes_on_where_it_was_left(tmp_path, monkeypatch):
    monkeypatch.setattr('benchmarks.scale.SMOKE', (300,))
    known = point(300, 123.0)
    (tmp_path / 'scale.json').write_text(json.dumps({'points': [known]}))
    # A process of its own for each point is for a true peak, and takes seconds.
    with monkeypatch.context() as patch:
        patch.setattr('benchmarks.scale.in_a_process', measure)
        assert main(['--smoke', '--out', str(tmp_path)]) == 0
    content = json.loads((tmp_path / 'scale.json').read_text(encoding='utf-8'))
    assert content['points'][0] == known
    assert [p['part'] for p in content['points']] == [
        *('graph', 'graph', 'preference', 'epoch')
    ]
    assert all(p['recall'] == 1 for p in content['points'][1:3])
    assert all(p['seconds'] > 0 for p in content['points'])
    assert '900 | 128 | sparse' in ' '.join(scale_table(content).split())
    assert 0 < content['points'][-1]['nodes_per_rating'] <= 2
    assert (tmp_path / 'scale.png').read_bytes().startswith(b'\x89PNG')
    assert main(['--smoke', '--again', 'epoch', '--out', str(tmp_path)]) == 0
    again = json.loads((tmp_path / 'scale.json').read_text(encoding='utf-8'))
    assert again['points'][:3] == content['points'][:3]
    assert again['points'][3]['seconds'] != content['points'][3]['seconds']


def test_bad_sizes(capsys, tmp_path):
    assert main(['--nodes', '1', '--out', str(tmp_path)]) == 2
    assert '--nodes must be at least 2' in capsys.readouterr().err
