import json

import pytest
import torch

from benchmarks.profile import _work, core_rates, main
from benchmarks.profile_cases import Case
from benchmarks.profile_tables import PARTS, profile_table


def test_core_is_measured():
    rates = core_rates(repeats=1)
    assert rates['gflop_per_s'] > 0.1
    assert rates['gb_per_s'] > 0.1


def test_work_counts_products_and_parameters():
    weight = torch.nn.Parameter(torch.randn(8, 4))
    case = Case(
        'linear',
        16,
        [],
        lambda x: (x @ weight).sum(),
        torch.optim.Adam([weight]),
        lambda: (1.0, 1),
    )
    work = _work(case, torch.randn(16, 8))
    # One product forward, and one backward: the input needs no gradient.
    assert work['flop'] == 2 * (2 * 16 * 8 * 4)
    assert work['bytes'] == 7 * 4 * 32
    assert weight.grad is None


@pytest.mark.slow
def test_smoke_run_accounts_for_a_step(tmp_path):
    out = ['--out', str(tmp_path)]
    assert main(['--smoke', '--passes', '1', '--steps', '2', *out]) == 0
    content = json.loads((tmp_path / 'profile.json').read_text(encoding='utf-8'))
    assert [case['name'] for case in content['cases']] == ['AGNN', 'TaNP']
    for case in content['cases']:
        assert case['step_ms'] == pytest.approx(sum(case['parts_ms'].values()))
        assert 0 < case['floor_ms'] < case['step_ms']
        assert case['operators'] == sorted(case['operators'], key=lambda o: -o['ms'])
    table = profile_table(content)
    assert all(part in table for part in PARTS)


def test_bad_steps(capsys, tmp_path):
    assert main(['--smoke', '--steps', '0', '--out', str(tmp_path)]) == 2
    assert "'--steps' must be at least 1" in capsys.readouterr().err
