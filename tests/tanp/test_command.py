"""The command with its recommender; files are tested in agnn_pyg/base/test_cli.py."""

import numpy as np
import pandas as pd
import pytest

from tanp import TaNPRecommender
from tanp.__main__ import main
from tests.agnn_pyg.test_command import printed, shell, write
from tests.tanp.test_recommender import films, halves


def test_the_digits_of_the_shell_are_those_of_python(here, capsys):
    later, some = halves(np.arange(100, 106)), films().iloc[:4]
    later['user'] = later['user'].map('ü{}'.format)
    first = later.groupby('user').cumcount() < 5
    first, later = later[first], later[~first]
    new = pd.DataFrame({'item': ['new film'], 'genre': [['war', 'sea']]})
    frames = {'ratings': halves(np.arange(30)), 'items': films(), 'new': new}
    write(frames | {'first': first, 'later': later, 'some': some[['item']]}, here)
    fit = 'fit ratings.csv --items items.csv --lists genre --model model --quiet'
    shell(main, f'{fit} --set epochs=2 --set ensemble_size=2')
    assert capsys.readouterr().out == ''
    adapted = TaNPRecommender.load('model').adapt(first)
    support, predicted = '--support first.csv --model model', adapted.predict(later)
    error, scores = predicted - later['rating'], adapted.evaluate(later, k=5)
    assert scores['rmse'] == pytest.approx(np.sqrt((error**2).mean()))
    assert scores['mae'] == pytest.approx(error.abs().mean())
    scores = [len(error), *scores.values()]
    halved = TaNPRecommender.load('model').evaluate(later)
    shell(main, 'evaluate later.csv --model model')
    assert printed(capsys)['value'].tolist() == [*halved.values()]
    for command, expected in (
        ('predict later.csv', later[['user', 'item']].join(predicted)),
        ('evaluate later.csv -k 5', pd.DataFrame({'value': scores})),
        ('recommend ü101 -k 3', adapted.recommend(['ü101'], 3)),
        ('recommend ü101 --items some.csv', adapted.recommend(['ü101'], items=some)),
        ('recommend ü101 --items new.csv', adapted.recommend(['ü101'], items=new)),
    ):
        shell(main, f'{command} {support}')
        found = printed(capsys)
        found = found[['value']] if 'value' in found else found
        expected = expected.reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    shell(main, f'explain ü101 "new film" --items new.csv {support}')
    text = adapted.explain('ü101', 'new film', new)
    assert capsys.readouterr().out == f'{text}\n'
    for command, named in (
        (f'recommend nobody {support}', "'nobody'"),
        ('predict later.csv --model model', '--support'),
    ):
        shell(main, command, code=2)
        assert named in capsys.readouterr().err
    shell(main, f'evaluate first.csv {support}')
    assert "'ratings' repeats pairs of the support in line 2" in capsys.readouterr().err
