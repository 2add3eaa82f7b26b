import json
import os
import sys

import pytest

from benchmarks import reliability, suites
from benchmarks.reliability import NOT_RUN, PARTS, main
from benchmarks.soak import leaks, usage


def test_parts_that_were_not_run_are_called_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PARTS, 'fuzz', lambda args: {'inputs': args.count})
    assert main(['fuzz', '--count', '7', '--out', str(tmp_path)]) == 0
    report = json.loads((tmp_path / 'reliability.json').read_text())
    assert report['fuzz']['inputs'] == 7
    assert report['fuzz']['command'].endswith('reliability fuzz --count 7')
    assert all(report[name] == NOT_RUN for name in PARTS if name != 'fuzz')
    assert json.loads(capsys.readouterr().out) == report

    # Another part is added, and what was found before stays.
    monkeypatch.setitem(PARTS, 'soak', lambda args: {'leaks': []})
    assert main(['soak', '--out', str(tmp_path)]) == 0
    later = json.loads((tmp_path / 'reliability.json').read_text())
    assert later['fuzz'] == report['fuzz']
    assert later['soak']['leaks'] == []


def test_an_unknown_part(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(['luck', '--out', str(tmp_path)])
    assert "no part 'luck' (there are properties, fuzz" in capsys.readouterr().err


def test_figures_that_tests_record_are_added_up(monkeypatch, tmp_path):
    (tmp_path / 'test_it.py').write_text(
        'import pytest\n'
        '@pytest.mark.parametrize("n", [1, 2])\n'
        'def test_it(record_property, n): record_property("kills", n)\n'
        'def test_bad(): assert False\n'
    )
    monkeypatch.setattr(suites, 'ROOT', tmp_path)
    _, found = suites.run_pytest('test_it.py')
    del found['failures']
    assert found == {'passed': 2, 'failed': 1, 'skipped': 0, 'kills': 3}


def test_tests_that_fail_are_named(monkeypatch, tmp_path):
    (tmp_path / 'test_it.py').write_text(
        'import os, pytest\n'
        '@pytest.fixture\n'
        'def broken(): raise OSError("no disk")\n'
        'def test_setup(broken): pass\n'
        'def test_bad(): assert os.environ["COLDSTART_KILLS"] == "8", "by name"\n'
        'def test_good(): pass\n'
    )
    monkeypatch.setattr(suites, 'ROOT', tmp_path)
    monkeypatch.setenv('COLDSTART_KILLS', '1')
    told = {'COLDSTART_KILLS': '7'}
    _, found = suites.run_pytest('test_it.py', environ=told)
    setup, bad = found['failures']
    assert setup['test'] == 'test_it.py::test_setup'
    assert 'no disk' in setup['message']
    assert bad['test'] == 'test_it.py::test_bad'
    assert 'by name' in bad['message']
    assert "assert '7' == '8'" in bad['message'] + ' '.join(bad['end'])
    assert bad['end'][-1] == 'test_it.py:5: AssertionError'
    # Those that pass are not, and what a part is told stays with it.
    _, found = suites.run_pytest('test_it.py', '-k', 'good')
    assert found == {'passed': 1, 'failed': 0, 'skipped': 0}
    assert os.environ['COLDSTART_KILLS'] == '1'


def test_failures_do_not_say_where_the_folder_is(monkeypatch, tmp_path):
    (tmp_path / 'test_it.py').write_text(
        'import os\ndef test_bad(): raise OSError(os.path.abspath("x"))\n'
    )
    monkeypatch.setattr(suites, 'ROOT', tmp_path)
    (bad,) = suites.run_pytest('test_it.py')[1]['failures']
    assert bad['message'] == 'OSError: x'
    assert str(tmp_path) not in json.dumps(bad)


@pytest.fixture
def nox_file(monkeypatch, tmp_path):
    """Sessions without an environment: they pass, fail, test nothing, or cannot run."""
    pytest.importorskip('nox')
    (tmp_path / 'test_it.py').write_text('def test_it(): pass\n')
    (tmp_path / 'test_bad.py').write_text('def test_it(): assert 1 == 2\n')
    (tmp_path / 'noxfile.py').write_text(
        'import sys, nox\n'
        'nox.options.error_on_missing_interpreters = False\n'
        '@nox.session(venv_backend="none")\n'
        'def good(s): s.run(sys.executable, "-m", "pytest", "test_it.py", *s.posargs)\n'
        '@nox.session(venv_backend="none")\n'
        'def bad(s): s.run(sys.executable, "-m", "pytest", "test_bad.py", *s.posargs)\n'
        '@nox.session(venv_backend="none")\n'
        'def idle(s): pass\n'
        '@nox.session(python="3.99")\n'
        'def absent(s): pass\n'
    )
    monkeypatch.setattr(suites, 'ROOT', tmp_path)
    monkeypatch.setattr(reliability, 'ROOT', tmp_path)
    nox = (sys.executable, '-m', 'nox', '--noxfile', 'noxfile.py')
    monkeypatch.setattr(reliability, 'NOX', nox)


def test_sessions_that_did_not_run_are_not_said_to_have_passed(nox_file, tmp_path):
    def versions(*sessions):
        assert main(['versions', '--out', str(tmp_path), *sessions]) == 0
        return json.loads((tmp_path / 'reliability.json').read_text())['versions']

    first = versions('--sessions', 'good', 'idle')
    assert first['good']['result'] == 'success'
    assert first['good']['passed'] == 1
    assert len(first['good']['git_commit']) == 40
    assert first['idle']['result'] == 'failed'
    assert 'idle' in ' '.join(first['idle']['said'])
    assert first['bad'] == first['absent'] == {'result': NOT_RUN}

    second = versions('--sessions', 'bad', 'absent')
    assert second['good'] == first['good']
    assert second['bad']['result'] == 'failed'
    assert second['bad']['failures'][0]['test'] == 'test_bad.py::test_it'
    assert second['absent']['result'] == 'skipped'
    assert 'passed' not in second['absent']


def test_an_unknown_session(nox_file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(['versions', '--sessions', 'luck', '--out', str(tmp_path)])
    assert "no session 'luck' (there are good, bad" in capsys.readouterr().err


def test_leaks_are_named():
    memory, files, threads = usage()
    assert memory > 10
    assert files >= 3
    assert threads >= 1
    same = (0.0, memory, files, threads)
    assert leaks(0.01, same, same) == []
    grown = (9.0, memory, files + 2, threads + 1)
    assert len(leaks(0.06, same, grown)) == 3
