import pytest

from agnn_pyg.recommender import AGNNRecommender


def test_settings_can_be_read_and_changed():
    model = AGNNRecommender(epochs=3)
    assert repr(model) == 'AGNNRecommender(epochs=3)'
    params = model.get_params()
    assert params['epochs'] == 3
    assert AGNNRecommender(**params).get_params() == params
    assert model.set_params(epochs=10, pool=0.1) is model
    assert repr(model) == 'AGNNRecommender(pool=0.1)'


def test_unknown_settings_change_nothing():
    model = AGNNRecommender()
    with pytest.raises(ValueError, match="no setting 'epoch', did you mean 'epochs'"):
        model.set_params(pool=0.5, epoch=4)
    assert model.pool == 0.05


def test_scikit_learn_can_clone_it():
    base = pytest.importorskip('sklearn.base')
    model = AGNNRecommender(epochs=3, user_attributes=['age'])
    assert base.clone(model).get_params() == model.get_params()
