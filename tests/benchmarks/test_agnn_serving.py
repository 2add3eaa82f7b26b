import json

import numpy as np
import pandas as pd
import pytest

from benchmarks.agnn_serving import agnn_serving_table, crowd_of, main

pytest.importorskip('pytorch_lightning')


def test_a_crowd_has_known_values_and_ids_of_its_own():
    known = pd.DataFrame({'item': [1, 2], 'genre': [['war'], ['sea']], 'mark': 0.5})
    crowd = crowd_of(known, 30, np.random.default_rng(0))
    assert not set(crowd['item']) & {1, 2}
    assert {g for (g,) in crowd['genre']} == {'war', 'sea'}
    assert crowd['item'].is_unique
    assert crowd['mark'].is_unique


def test_smoke_run_writes_times(tmp_path, capsys):
    assert main(['--smoke', '--out', str(tmp_path)]) == 0
    content = json.loads((tmp_path / 'agnn-serving.json').read_text(encoding='utf-8'))
    sizes = [(t['case'], t['users'], t['items']) for t in content['timings']]
    assert sizes == [('new, all different', 2, 40), ('new', 20, 400)]
    for row in content['timings']:
        assert row['rows'] == 10 * row['users']
        assert row['seconds'] > 0
    assert '| new, all different |' in capsys.readouterr().out


def test_table_says_how_long_it_takes():
    timing = {'case': 'new', 'users': 10_000, 'items': 200_000, 'seconds': 3.21}
    table = agnn_serving_table({'timings': [timing | {'peak_memory_mb': 1234.5}]})
    assert '| 10,000 | 200,000 |     3.2 |           1,234 |' in table
