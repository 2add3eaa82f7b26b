import json

import pytest
import torch

from agnn_pyg import GatedConv
from benchmarks.layer import LAYERS, NaiveGatedConv, graph, main, measure
from benchmarks.layer_plots import layer_table

CASE = {'nodes': 60, 'neighbors': 4, 'width': 6, 'sorted': True, 'vary': 'nodes'}


def test_the_naive_form_is_the_same_function():
    torch.manual_seed(0)
    naive, layer = NaiveGatedConv(6), GatedConv(6)
    layer.load_state_dict(naive.state_dict())
    x, edge_index = graph(CASE)
    torch.testing.assert_close(
        naive(x, edge_index), layer(x, edge_index), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize('is_sorted', [True, False])
def test_graphs_repeat_and_have_the_size_asked_for(is_sorted):
    case = {**CASE, 'sorted': is_sorted}
    (x, edge_index), (_, again) = graph(case), graph(case)
    assert torch.equal(edge_index, again)
    assert x.size() == (60, 6)
    assert torch.bincount(edge_index[1], minlength=60).eq(4).all()
    assert bool((edge_index[1].diff() >= 0).all()) == is_sorted


def test_every_layer_is_measured():
    rows = measure(CASE, repeats=1)
    assert [row['layer'] for row in rows] == list(LAYERS)
    assert all(row['forward_s'] > 0 and row['forward_backward_s'] > 0 for row in rows)


def test_table_gives_ratios_and_says_what_was_not_run():
    timings = [
        {
            'vary': 'order',
            'width': 30,
            'sorted': True,
            'torch_scatter': False,
            'layer': layer,
            'forward_s': seconds / 2,
            'forward_backward_s': seconds,
        }
        for layer, seconds in (('GatedConv', 1.0), ('GATv2Conv', 2.0))
    ]
    memory = [{'width': 30, 'layer': 'GatedConv', 'peak_mb': 1234.0}]
    table = layer_table({'timings': timings, 'memory': memory})
    own, other = table.splitlines()[2:]
    assert '0.50' in own
    assert '1,234' in own
    assert 'not run' in other


@pytest.mark.slow
def test_quick_run_writes_json_and_plot(tmp_path, monkeypatch):
    monkeypatch.setattr('benchmarks.layer.BASE', CASE)
    assert main(['--quick', '--repeats', '1', '--out', str(tmp_path)]) == 0
    content = json.loads((tmp_path / 'layer.json').read_text(encoding='utf-8'))
    assert {row['layer'] for row in content['timings']} == set(LAYERS)
    assert (tmp_path / 'layer.png').read_bytes().startswith(b'\x89PNG')


def test_bad_repeats(capsys, tmp_path):
    assert main(['--repeats', '0', '--out', str(tmp_path)]) == 2
    assert '--repeats must be at least 1' in capsys.readouterr().err


def test_nothing_to_extend(capsys, tmp_path):
    assert main(['--extend', '--out', str(tmp_path)]) == 2
    assert 'run without --extend' in capsys.readouterr().err
