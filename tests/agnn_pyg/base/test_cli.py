"""The command line of a small recommender: arguments, tables, streams, exit codes."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

from agnn_pyg.base.cli import CommandLine
from agnn_pyg.base.config import Config, Estimator
from agnn_pyg.base.store import read_store, write_store
from agnn_pyg.base.vocabulary import Vocabulary
from tests.conftest import ROOT, run_python


class ToyConfig(Config):
    """Settings."""

    user: str = Field('user', description='Users.')
    item: str = Field('item', description='Items.')
    rating: str = Field('rating', description='Ratings.')
    shift: float = Field(0.0, description='Added to predictions.')
    sizes: tuple[int, ...] = Field((1,), description='Sizes.')
    name: str | None = Field(None, description='A name.')
    wait: float = Field(0.0, description='Seconds of a fit.')
    progress: bool = Field(False, description='Show a progress bar.')


class Toy(Estimator):
    """Rates by the mean of the item's genre, and knows all items it is given."""

    Config = ToyConfig

    def fit(self, ratings, users=None, items=None, validation=None):
        if self.progress:
            print('50 %', flush=True)  # noqa: T201
        time.sleep(self.config.wait)
        self.state = {'mean': float(ratings[self.rating].mean()), 'genres': []}
        self.state['users'] = sorted({*ratings[self.user].map(str)})
        if items is not None:
            self.state['genres'] = [[*map(str, cell)] for cell in items['genres']]
        return self

    def evaluate(self, ratings, users=None, items=None, k=20):
        error = self.predict(ratings, users, items) - ratings[self.rating]
        return {'mse': (error**2).mean(), 'k': k}

    @property
    def vocabularies_(self):
        ids = Vocabulary('str', np.array(self.state['users'], object))
        return {'user': ids, 'item': ids}

    column_encoders_ = (
        SimpleNamespace(column='genres', values=['War'], stype='multi'),
        SimpleNamespace(column='code', values=['007'], stype='categorical'),
    )
    history_, best_epoch_ = ({'epoch': 0, 'train_loss': 0.5, 'val_rmse': 0.25},), 0

    def predict(self, pairs, users=None, items=None):
        known = {}
        if items is not None:
            known = dict(zip(items[self.item], items['genres'], strict=True))
            Toy.codes = [*items.get('code', ())]
        size = pairs[self.item].map(lambda item: len(known.get(item, ())))
        rating = self.state['mean'] / 3 + size + self.shift
        return pd.Series(rating, index=pairs.index, name=self.rating)

    def recommend(self, users, k=10, items=None, exclude_seen=True):
        users = users if isinstance(users, list) else users[self.user].tolist()
        return pd.DataFrame({self.user: users, 'k': k, 'seen': not exclude_seen})

    def explain(self, user, item, users=None, items=None):
        return f'user {user}, item {item}: {self.state["mean"]}'

    def save(self, path, **notes):
        config = {'settings': self.get_params(), 'state': self.state}
        write_store(path, 'Toy', 1, config, {}, **notes)

    @classmethod
    def load(cls, path):
        config, _ = read_store(path, 'Toy', 1)
        made = cls(**config['settings'])
        made.state = config['state']
        return made


toy = CommandLine('toy', f'{__name__}:Toy', 'Toys.')


@pytest.fixture
def files(here):
    """Tables whose columns are called otherwise, in the current folder."""
    Path('ratings.csv').write_text('userId,movie_id,stars\né1,7,1\né2,7,2\né2,8,5\n')
    Path('films.csv').write_text('movieId,genres,code\n7,War|Love,007\n8,War,008\n')
    Path('new.csv').write_text('id,genres,code\n9,War|Sea|Love,010\n')
    Path('pairs.csv').write_text('user,movie_id\né1,9\né2,7\n')


PREDICT = ('predict', 'pairs.csv', '--items', 'new.csv', '--model', 'm')


def ran(capsys, *arguments):
    code = toy([*map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def fitted(capsys, *more):
    fit = ('fit', 'ratings.csv', '--items', 'films.csv', '--model', 'm')
    return ran(capsys, *fit, '--lists', 'genres', *more)


def test_data_to_stdout_and_remarks_to_stderr(files, capsys, monkeypatch):
    code, out, err = fitted(capsys)
    assert (code, out) == (0, '')
    assert "'m' holds the model after 1 epoch: train_loss 0.5000, val_rmse 0.25" in err
    assert '50 %' not in err  # a progress bar is for a terminal
    assert fitted(capsys, '--quiet') == (0, '', '')
    monkeypatch.setattr(Toy, 'best_epoch_', None)
    assert "'m' holds the model\n" in fitted(capsys)[2]

    code, out, err = ran(capsys, *PREDICT)
    assert (code, err) == (0, '')
    made = pd.read_csv(io.StringIO(out))
    assert list(made.columns) == ['userId', 'movie_id', 'stars']
    pairs = pd.DataFrame({'userId': ['é1', 'é2'], 'movie_id': ['9', '7']})
    items = pd.DataFrame({'movie_id': ['9'], 'genres': [['War', 'Sea', 'Love']]})
    # The digits of Python.
    expected = Toy.load('m').predict(pairs, None, items)
    assert made['stars'].tolist() == expected.tolist()
    assert ran(capsys, *PREDICT, '--out', 'made.csv') == (0, '', '')
    assert Path('made.csv').read_text() == out

    error = 8 / 9 - pd.Series([1, 2, 5])
    for options, k in (([], 20), (['-k', '5'], 5)):
        code, out, _ = ran(capsys, 'evaluate', 'ratings.csv', '--model', 'm', *options)
        scores = pd.read_csv(io.StringIO(out), index_col='metric')['value']
        expected = {'ratings': 3, 'mse': (error**2).mean(), 'k': k}
        assert scores.to_dict() == pytest.approx(expected)


def test_users_by_name_or_by_file(files, capsys):
    fitted(capsys)
    model = ('--model', 'm')
    code, out, _ = ran(capsys, 'recommend', 'é1', 'é2', '-k', 3, *model)
    assert (code, out) == (0, 'userId,k,seen\né1,3,False\né2,3,False\n')
    Path('users.csv').write_text('user\né2\n')
    by_file = ('recommend', '--users', 'users.csv', '--include-seen', *model)
    assert ran(capsys, *by_file)[1] == 'userId,k,seen\né2,10,True\n'
    some = ('recommend', 'é1', 'é2', '--users', 'users.csv', *model)
    assert ran(capsys, *some)[1] == 'userId,k,seen\né1,10,False\né2,10,False\n'
    stranger = ('recommend', 'é3', '--users', 'users.csv', *model)
    for unfit, named in ((('recommend', *model), '--users'), (stranger, "'é3'")):
        code, out, err = ran(capsys, *unfit)
        assert (code, out) == (2, '')
        assert named in err
    assert ran(capsys, 'explain', 'é1', 9, *model)[1].startswith('user é1, item 9: 2.6')


def test_settings_have_the_declared_type(monkeypatch, capsys, files):
    made, fit = [], Toy.fit

    def watch(self, *tables):
        made.append(self.get_params())
        return fit(self, *tables)

    monkeypatch.setattr(Toy, 'fit', watch)
    settings = {'shift=2': 2.0, 'shift=-1e-3': -1e-3, 'sizes=[3, 4]': (3, 4)}
    settings |= {'sizes=(3,)': (3,), 'name=3': '3', 'name=a=b': 'a=b'}
    settings |= {'name=None': None, 'name=null': None}
    settings |= {'progress=true': True, 'progress=False': False}
    for text, expected in settings.items():
        made.clear()
        assert ran(capsys, 'fit', 'ratings.csv', '--model', 'm', '--set', text)[0] == 0
        value = made[0][text.partition('=')[0]]
        assert (value, type(value)) == (expected, type(expected))


def test_wrong_arguments_are_named_on_one_line(files, capsys):
    Path('notes').mkdir()
    Path('notes', 'dear.txt').write_text('diary')
    for arguments, match in [
        (('--set', 'shift'), 'NAME=VALUE'),
        (('--set', 'shfit=1'), "did you mean 'shift'"),
        (('--set', 'shift=fast'), "'shift' must be a"),
        (('--set', 'sizes=3'), "'sizes'"),
        (('--lists', 'genre'), "did you mean 'genres'"),
        (('--user', 'userid'), "'ratings.csv'.*did you mean 'userId'"),
        (('--item', 'id'), "'ratings.csv'.*'id'.*'--item COLUMN'"),
        (('--rating', 'points'), "'points'.*'--rating COLUMN'.*'--rating none'"),
        (('--user', 'userId', '--set', 'user=userId'), "'--user' and '--set user'"),
        (('--items', 'pairs.txt'), "'pairs.txt'"),
        (('--model', 'no/m'), "folder 'no'"),
        (('--model', 'notes'), 'notes'),
    ]:
        code, out, err = fitted(capsys, *arguments)
        assert (code, out) == (2, '')
        assert err.startswith('error: ')
        assert err.count('\n') == 1
        assert re.search(match, err), err


def test_options_without_an_effect_are_refused(files, capsys):
    fitted(capsys)
    Path('users.csv').write_text('user\né2\n')
    for command, named in (
        ((*PREDICT, '--rating', 'stars'), "'--rating' has no effect"),
        ((*PREDICT, '--rating', 'none'), "'--rating none' .* a model of ratings"),
        (('explain', 'é1', '9', '--model', 'm', '--user', 'userId'), "'--user' has"),
        (('recommend', 'é1', '--model', 'm', '--item', 'movieId'), "'--item' has"),
        (
            ('recommend', '--users', 'users.csv', '--model', 'm', '--list-separator=;'),
            "'--list-separator' has",
        ),
        (('fit', 'ratings.csv', '--list-separator', ';', '--model', 'n'), 'separator'),
    ):
        code, out, err = ran(capsys, *command)
        assert (code, out) == (2, '')
        assert re.search(named, err), err


def test_lists_and_texts_are_read_as_in_the_fit(files, capsys):
    for name in ('films.csv', 'new.csv'):
        Path(name).write_text(Path(name).read_text().replace('|', ';'))
    fitted(capsys, '--list-separator', ';')
    assert Toy.load('m').state['genres'] == [['War', 'Love'], ['War']]
    _, out, _ = ran(capsys, *PREDICT)
    assert pd.read_csv(io.StringIO(out))['stars'].max() > 3
    assert Toy.codes == ['010']
    assert ran(capsys, *PREDICT, '--lists', 'genres')[1] == out
    _, other, err = ran(capsys, *PREDICT, '--list-separator', '|')
    assert other != out
    assert "'|'" in err
    # Notes are as safe from damage as the rest.
    content = Path('m/model.zip').read_bytes()
    Path('m/model.zip').write_bytes(content.replace(b'";"', b'","'))
    assert 'is damaged' in ran(capsys, *PREDICT)[2]


# Ctrl+C also where the tests run in the background, whose processes ignore it.
PROCESS = 'import sys, signal as s; s.signal(s.SIGINT, s.default_int_handler); '
PROCESS += 'from tests.agnn_pyg.base.test_cli import toy; sys.exit(toy())'


def process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', PROCESS, *arguments],
        env=os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.slow
def test_a_reader_that_leaves_and_an_interruption(files, capsys):
    fitted(capsys)
    rows = ''.join(f'é1,{n}\n' for n in range(40_000))
    Path('pairs.csv').write_text(f'user,movie_id\n{rows}')
    with process(*PREDICT) as run:
        assert run.stdout.readline() == b'userId,movie_id,stars\n'
        run.stdout.close()
        assert (run.wait(60), run.stderr.read()) == (0, b'')
    fit = ['fit', 'ratings.csv', '--model', 'n', '--set', 'wait=100']
    fit += ['--set', 'progress=true']
    with process(*fit) as run:
        # The fit has begun once its progress bar is drawn.
        assert run.stderr.readline() == b'50 %\n'
        run.send_signal(signal.SIGINT)
        assert (run.wait(60), run.stderr.read()) == (130, b'interrupted\n')


@pytest.mark.slow
@pytest.mark.parametrize('module', ['agnn_pyg.__main__', 'tanp.__main__'])
def test_help_and_missing_files_wait_for_no_imports(module):
    code = f'import sys; from {module} import main; assert main(["--help"]) == 0; '
    code += "slow = {'torch', 'pandas', 'rich'} & {*sys.modules}; "
    code += 'assert main(["fit", "lacking.csv", "--model", "m"]) == 2; '
    code += "sys.exit(', '.join(slow | {'torch'} & {*sys.modules}) or 0)"
    run_python('-c', code)
