import numpy as np
import pandas as pd
import pytest

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.problems import make_problem
from benchmarks.records import SETTINGS, read_lines, read_runs
from benchmarks.run import main
from benchmarks.suite import SUITES, combinations, load_suite
from data.synthetic import planted_tables
from tests.benchmarks.fakes import Fake, FewShot

HEAD = """
title = "A suite"
data = ["planted"]
scenarios = ["warm"]
splits = [0]
own = "fake"
"""
FAKE = """
[[estimators]]
label = "fake"
type = "tests.benchmarks.fakes.Fake"
grid = {shift = [-1.0, 0.125, 2.0]}
rows = {"shifted" = {shift = 1.5}}
"""


@pytest.fixture
def run(tmp_path, capsys):
    Fake.log.clear()
    FewShot.log.clear()

    def run(text, *arguments, code=0):
        (tmp_path / 'toy.toml').write_text(text)
        results = ['--results', str(tmp_path / 'results')]
        assert main([str(tmp_path / 'toy.toml'), *results, *arguments]) == code
        run.printed = capsys.readouterr()
        return read_runs(tmp_path / 'results') if code == 0 else None

    run.folder = tmp_path / 'results'
    return run


def test_settings_are_selected_on_validation_and_test_is_scored_once(run):
    rows = run(HEAD + FAKE.replace('grid', 'scenarios = ["warm"]\ngrid'))
    fits = [entry for entry in Fake.log if entry[0] == 'fit']
    shifts, sizes, has_validation, options = zip(*(f[1:] for f in fits), strict=True)
    # Three settings on the training part, then the best of them on all ratings.
    assert shifts == (-1.0, 0.125, 2.0, 0.125)
    assert has_validation == (True, True, True, False)
    assert sizes[0] == sizes[2] < sizes[3]
    assert options == ({}, {}, {}, {'stop_after': 3})
    predictions = [entry[1:] for entry in Fake.log if entry[0] == 'predict']
    assert [shift for shift, _ in predictions] == [-1.0, 0.125, 2.0, 0.125, 1.5]
    assert rows[['estimator', 'part']].values.tolist() == [
        *(['fake', 'validation'], ['fake', 'test'], ['shifted', 'test'])
    ]
    assert rows['chosen'].tolist() == ['{"shift": 0.125}'] * 3
    parts = make_problem('planted', 'warm', 0, {}, smoke=False).parts
    error = parts.test['rating'] - parts.fit['rating'].mean() - 0.125
    test = rows[rows['part'] == 'test'].set_index('estimator')
    assert test['rmse']['fake'] == pytest.approx(np.sqrt((error**2).mean()), abs=1e-6)
    assert test['mae']['fake'] == pytest.approx(error.abs().mean(), abs=1e-6)
    assert test['rmse']['fake'] < test['rmse']['shifted']
    assert 'fake' in run.printed.out
    (settings,) = read_lines(run.folder, SETTINGS)
    assert settings['settings'] == rows['settings'].iloc[0]
    assert settings['values'] == {'shift': 0.0, 'epochs': 5}
    assert settings['grid'] == {'shift': [-1.0, 0.125, 2.0]}


def test_runs_whose_rows_are_there_are_skipped(run):
    first = run(HEAD + FAKE)
    Fake.log.clear()
    pd.testing.assert_frame_equal(run(HEAD + FAKE), first)
    assert Fake.log == []
    more = run(HEAD + FAKE, '--seeds', '0', '1', '--splits', '0', '3')
    assert len(more) == 4 * len(first)
    assert more['settings'].nunique() == 1
    Fake.log.clear()
    assert len(run(HEAD + FAKE, '--force')) == len(more)
    assert Fake.log
    # Other settings are another run, and tables show the newest.
    changed = run(HEAD + FAKE.replace('2.0', '0.0'))
    assert changed['settings'].nunique() == 2


def test_a_missing_library_leaves_a_gap_and_the_others_run(run):
    text = FAKE.replace('fake"', 'lacking"').replace('Fake"', 'Missing"')
    rows = run(HEAD + text.replace('rows', '# rows') + FAKE)
    assert set(rows['estimator']) == {'fake', 'shifted'}
    assert 'no such library' in run.printed.err
    assert 'not run' in run.printed.out


def test_mistakes_in_a_suite_are_named(run):
    for change, named in [
        (('own = "fake"', 'own = "fak"'), 'fak'),
        (('"warm"]', '"warn"]'), 'warn'),
        (('title', 'titel'), 'titel'),
        (('grid =', 'gird ='), 'gird'),
        (('fakes.Fake', 'fakes.Fale'), 'Fale'),
        (('{shift = 1.5}', '{shift = '), 'toy'),
        (('rows =', 'settings = {shfit = 1.0}\nrows ='), 'shfit'),
        (('rows =', 'like = "other"\nrows ='), 'other'),
    ]:
        text = HEAD + FAKE
        assert change[0] in text
        run(text.replace(*change), code=2)
        assert named in run.printed.err
    run(text, '--estimators', 'fale', code=2)
    assert 'fale' in run.printed.err
    assert main(['nowhere.toml']) == 2


def test_a_change_takes_all_else_from_another(tmp_path):
    text = HEAD + FAKE.replace('rows', 'by_scenario = {warm = {epochs = 7}}\nrows')
    text += '[[estimators]]\nlabel = "fake, long"\nlike = "fake"\n'
    text += 'settings = {epochs = 9}\n[settings]\nshift = 1.0\nunknown = 2\n'
    (tmp_path / 'a.toml').write_text(text)
    suite = load_suite(tmp_path / 'a.toml')
    base, change = (suite.build(spec, 'warm') for spec in suite.estimators)
    assert (base.shift, base.epochs) == (1.0, 7)
    assert (change.shift, change.epochs) == (1.0, 9)
    assert combinations({'a': [1, 2], 'b': [3]}) == [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    assert combinations({}) == [{}]


def test_few_shot_users_are_scored_by_support(run):
    text = HEAD.replace('planted', 'planted-tastes').replace('warm', 'few_shot')
    text += '[options]\nsupport_size = 5\nmin_size = 15\nrelevant = 0.5\n'
    fake = '[[estimators]]\nlabel = "fake"\ntype = "tests.benchmarks.fakes.FewShot"\n'
    rows = run(text + fake)
    assert rows['part'].tolist() == [
        *('validation', 'test', 'test/support=1', 'test/support=2', 'test/support=5'),
        *('test/flipped_labels', 'test/another_user'),
    ]
    by_part = rows.set_index('part')
    assert by_part['ndcg@10']['test'] == by_part['ndcg@10']['test/support=5']
    assert 'mse' not in rows  # its scores estimate no labels
    _, _, whole, *_, flipped, other = FewShot.log  # after a fit and a validation
    assert (flipped['rating'] == 1 - whole['rating']).all()
    assert other['item'].tolist() == whole['item'].tolist()


def test_own_data(tmp_path):
    options = {'ratings': tmp_path / 'r.csv', 'users': tmp_path / 'u.csv'}
    tables = planted_tables()
    tables.ratings.to_csv(options['ratings'], index=False)
    tables.users.to_csv(options['users'], index=False)
    own = make_problem('files', 'user_cold', 0, {'files': options}, smoke=False)
    assert len(own.parts.fit) + len(own.parts.test) == len(tables.ratings)
    assert own.nodes[0]['age'].notna().all()


def test_suites_of_the_repository_build():
    for path in sorted(SUITES.glob('*.toml')):
        suite = load_suite(path)
        for spec in suite.estimators:
            for scenario in suite.scenarios:
                if spec.runs_on(scenario):
                    made = suite.build(spec, scenario)
                    assert made.config is not None
                    for settings in spec.rows.values():
                        assert made.set_params(**settings).config is not None


@pytest.mark.filterwarnings('ignore')
def test_cold_items_are_ranked_among_themselves_and_among_all(tmp_path):
    suite = SUITES / 'implicit.toml'
    arguments = [str(suite), '--smoke', '--splits', '0', '--results', str(tmp_path)]
    arguments += ['--scenarios', 'item_cold', '--estimators']
    assert main([*arguments, 'attribute kNN', 'kernel model']) == 0
    rows = read_runs(tmp_path).set_index(['estimator', 'part'])
    problem = make_problem('ml-100k', 'item_cold', 0, {'positive': 4.0}, True)
    parts = problem.parts
    assert (parts.fit['rating'] >= 4).all()
    model = AGNNRecommender(rating=None, cv_folds=2, epochs=2)
    model.fit(parts.fit, *problem.nodes).set_params(kernel_weight=1.0)
    cold = parts.test['item'].unique()
    assert not set(cold) & set(parts.fit['item'])
    for part, among in (('test', cold), ('test/all_items', None)):
        score = model.evaluate(parts.test, among=among)['ndcg@20']
        found = rows.loc[('kernel model', part), 'ndcg@20']
        assert found == pytest.approx(score, abs=1e-6)
        assert rows.loc[('attribute kNN', part), 'ndcg@20'] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ['quick', 'few-shot-lastfm', 'few-shot-ml100k'])
def test_suites_run_on_tiny_data_and_go_on(name, tmp_path):
    suite = SUITES / f'{name}.toml'
    arguments = [str(suite), '--smoke', '--splits', '0', '--seeds', '0']
    arguments += ['--results', str(tmp_path)]
    assert main(arguments) == 0
    rows = read_runs(tmp_path)
    assert set(load_suite(suite).labels) == set(rows['estimator'])
    assert main(arguments) == 0
    pd.testing.assert_frame_equal(read_runs(tmp_path), rows)
