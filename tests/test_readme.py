"""Every Python block of the READMEs runs as printed, a fresh interpreter a page."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.__main__ import main as agnn_pyg
from agnn_pyg.recommender import AGNNRecommenderConfig
from tanp.__main__ import main as tanp
from tests.conftest import ROOT

COMMANDS = {'agnn-pyg': agnn_pyg, 'tanp': tanp}
PAGES = {
    path.parent.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8')
    for path in sorted(ROOT.glob('README.md')) + sorted(ROOT.glob('[a-z]*/README.md'))
}
README = PAGES['.']
ENVIRONMENT = ('HOME', 'COLDSTART_DATA', 'COLDSTART_MIRROR', 'OMP_NUM_THREADS')
BLOCKS = {
    page: re.findall(r'^```python\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    for page, text in PAGES.items()
}
# Tests of their own run one that takes a library, and the first, see test_movielens.py.
(SEARCH,) = [block for block in BLOCKS['agnn_pyg'] if 'import optuna' in block]
BLOCKS['agnn_pyg'] = [b for b in BLOCKS['agnn_pyg'][1:] if b != SEARCH]
# What a reader types into a console of Python, with nothing left of the block before.
CONSOLE = """
import json, sys
for number, block in enumerate(json.load(sys.stdin)):
    exec(compile(block, f'block {number}', 'exec'), {'__name__': '__main__'})
"""
KEPT = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def alike(line, other):
    """Whether two lines have the same words, and numbers that differ by .02 at most."""
    words, numbers = zip(*(_split(text) for text in (line, other)), strict=True)
    return words[0] == words[1] and np.allclose(*numbers, rtol=0, atol=0.02)


def _split(line):
    number = r'[+-]?\d+\.\d+'
    return re.sub(number, '#', line).split(), [*map(float, re.findall(number, line))]


@pytest.mark.slow
@pytest.mark.parametrize('page', [page for page, blocks in BLOCKS.items() if blocks])
def test_blocks_run(page, tmp_path, request):
    for name in ('ml100k', 'lastfm'):
        if f'load_{name}' in ''.join(BLOCKS[page]):
            request.getfixturevalue(name)  # or the test is skipped
    if 'MovieLens100K' in ''.join(BLOCKS[page]):
        folder = request.getfixturevalue('movielens_folder')
        (tmp_path / folder.name).symlink_to(folder)
    ran = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', '-c', CONSOLE],
        input=json.dumps(BLOCKS[page]),
        cwd=tmp_path,
        env=KEPT | {'PYTHONPATH': str(ROOT), 'PATH': ''},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    printed = ran.stdout.splitlines()
    for shown in re.findall(r'^```text\n(.*?)^```', PAGES[page], re.DOTALL | re.M):
        for line in shown.splitlines():
            assert any(alike(line, other) for other in printed), line


@pytest.mark.slow
def test_the_search_runs():
    """Three trials of the settings that `help` has first."""
    optuna = pytest.importorskip('optuna')
    block = SEARCH.replace('n_trials=30', 'n_trials=3')
    assert block != SEARCH
    left = {}
    exec(compile(block, 'search', 'exec'), left)  # noqa: S102
    trials = left['study'].trials
    assert [t.state for t in trials] == [optuna.trial.TrialState.COMPLETE] * 3
    assert left['study'].best_value == max(t.value for t in trials)
    assert left['study'].best_params.keys() == {*AGNNRecommenderConfig.tuned_first}


@pytest.mark.slow
def test_the_shell_example_runs(here):
    """On small files with the names, columns and ids that it speaks of."""
    rng = np.random.default_rng(0)
    user, movie = (rng.random((12, 15)) < 0.6).nonzero()
    movie_id = np.array([1193, *range(1, 15)])
    rated = {'userId': user + 1, 'movieId': movie_id[movie], 'rating': 3.5}
    ratings = pd.DataFrame(rated)
    ratings['rating'] -= movie % 3
    ratings.to_csv('ratings.csv', index=False)
    movies = pd.DataFrame({'movieId': movie_id, 'title': movie_id.astype(str)})
    movies['genres'] = np.array(['War', 'Comedy', 'War|Comedy'])[np.arange(15) % 3]
    movies.to_csv('movies.csv', index=False)
    movies.assign(movieId=movie_id + 5000).to_csv('new_films.csv', index=False)
    pd.DataFrame({'userId': [7], 'movieId': [6193]}).to_csv('pairs.csv')
    ratings[:4].assign(userId=99).to_csv('first_ratings.csv', index=False)

    (block,) = re.findall(r'^```bash\n(agnn-pyg .*?)^```', README, re.DOTALL | re.M)
    lines = block.splitlines()
    assert len(lines) == 5
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)
        target = 'shown.txt'
        if '>' in arguments:
            *arguments, _, target = arguments
        with open(target, 'w') as out, contextlib.redirect_stdout(out):
            assert COMMANDS[name](arguments) == 0
    assert Path('rated.csv').read_text().startswith('userId,movieId,rating\n7,6193,')


@pytest.mark.parametrize('page', PAGES)
def test_links_to_files_of_the_repository_exist(page):
    for target in re.findall(r'\]\((?!http|#)([^)#]+)', PAGES[page]):
        assert (ROOT / page / target).exists(), target
