"""Ratings, users and items that come after the fit, and are added to it."""

import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg.kernel import implicit
from agnn_pyg.kernel.scorer import KernelScorer
from agnn_pyg.recommender import AGNNRecommender
from tests.agnn_pyg.conftest import SETTINGS, listed, rmse


@pytest.fixture(scope='module')
def saved(recommender, tmp_path_factory):
    """A folder of the fitted recommender: each test updates its own copy."""
    folder = tmp_path_factory.mktemp('saved') / 'model'
    recommender.save(folder)
    return folder


@pytest.fixture(scope='module')
def news(planted):
    """What came later, but two users and two items have no ratings yet."""
    later = planted.later
    late = later['user'].isin(planted.new_users['user'][:2])
    late |= later['item'].isin(planted.new_items['item'][:2])
    return later[~late], planted.new_users, planted.new_items


@pytest.fixture(scope='module')
def updated(saved, news):
    return AGNNRecommender.load(saved).update(*news)


def content(model):
    _, tensors = model._fitted_.to_store()
    ids = {side: ids.to_dict() for side, ids in model.vocabularies_.items()}
    return ids, listed(tensors)


def test_new_users_and_items_are_known_and_predicted_as_by_a_fit(
    recommender, updated, planted, news
):
    rated, users, items = news
    ids = [101, *users['user']]
    top = updated.recommend(ids, k=80)
    assert set(top['item']) >= {*items['item'][:2]}
    seen = {*zip(rated['user'], rated['item'], strict=True)}
    assert not seen & {*zip(top['user'], top['item'], strict=True)}
    why = updated.explain(ids[-1], items['item'].iloc[-1])
    assert why.ratings['user'].isin(ids).any()
    before = content(updated)
    assert content(updated.update(rated.head(0))) == before
    # Held-out pairs of old and new nodes, and of those that are still cold.
    held = planted.later.drop(rated.index)
    old = planted.ratings, planted.users, planted.items
    tables = [pd.concat(both) for both in zip(old, news, strict=True)]
    refit = AGNNRecommender(**SETTINGS).fit(*tables)
    models = recommender, updated, refit
    errors = [rmse(model.predict(held, users, items), held) for model in models]
    assert errors[1] < errors[0]
    assert errors[1] == pytest.approx(errors[2], abs=0.02)


def test_the_network_goes_on_from_its_weights(saved, news, monkeypatch):
    """Without a step, all that changes is that there are more nodes and edges."""
    model = AGNNRecommender.load(saved)
    before = model.scorer_.network.model_.state_dict()
    config = model.scorer_.network.config
    still = {'lr': 1e-12, 'embedding_lr': 1e-12}
    model.scorer_.network.config = config.model_copy(update=still)
    model.update(*news)
    after = model.scorer_.network.model_.state_dict()
    for name, old in before.items():
        new = after[name]
        torch.testing.assert_close(new[tuple(map(slice, old.shape))], old, msg=name)
        grown = name.endswith('embedding') or 'vectors' in name
        assert (len(new) > len(old)) if grown else new.shape == old.shape
        if name.endswith('embedding'):
            assert new[len(old) :].std() < 0.1


def test_an_update_repeats_and_survives_a_file(saved, updated, news, planted, tmp_path):
    again = AGNNRecommender.load(saved).update(*news)
    assert content(again) == content(updated)
    updated.save(tmp_path)
    loaded = AGNNRecommender.load(tmp_path)
    more = planted.later.drop(news[0].index)
    for model in (again, loaded):
        model.update(more)
    assert content(loaded) == content(again)
    assert not {*content(updated)[1]['rated'][0]} >= set(range(60))
    assert {*content(loaded)[1]['rated'][0]} == set(range(60))
    assert loaded.predict(planted.later).equals(again.predict(planted.later))


def test_a_rating_of_a_known_pair_replaces_the_old_one(saved, planted):
    known = planted.ratings[7:40]
    model = AGNNRecommender.load(saved).set_params(kernel_weight=1.0)
    before = model.predict(known), len(model._fitted_.rating)
    model.update(known.assign(rating=6 - known['rating']))
    assert len(model._fitted_.rating) == before[1]
    moved = model.predict(known) - before[0]
    assert np.corrcoef(moved, 6 - 2 * known['rating'])[0, 1] > 0.9
    # The right ones again: as if nothing had happened, up to the solver.
    model.update(known)
    assert np.abs(model.predict(known) - before[0]).max() < 0.01


def test_bad_tables_are_refused_as_by_a_fit(recommender, news):
    for change, named in (
        (lambda r: r[:1].assign(item=-5), "'item'.*'items'"),
        (lambda r: pd.concat([r, r]), 'second time'),
        (lambda r: r.assign(rating=99.0), 'outside of those'),
    ):
        before = recommender._fitted_
        with pytest.raises(ValueError, match=named):
            recommender.update(change(news[0]), *news[1:])
        with pytest.raises(ValueError, match='gender'):
            recommender.update(news[0], news[1].drop(columns='gender'), news[2])
        assert recommender._fitted_ is before


def test_the_range_stays_and_ratings_may_be_none(saved, planted, news):
    model, more = AGNNRecommender.load(saved), planted.ratings[:3].assign(rating=5.5)
    with pytest.warns(UserWarning, match='outside of those of the fit'):
        model.update(more)
    assert model.rating_scale_ == AGNNRecommender.load(saved).rating_scale_
    model.update(planted.ratings[:0], items=planted.new_items)
    assert {*planted.new_items['item']} <= {*model.recommend([101], k=80)['item']}


@pytest.mark.parametrize('stop', [KeyboardInterrupt, ValueError])
def test_an_update_that_stops_midway_changes_nothing(stop, saved, news, monkeypatch):
    model, old = AGNNRecommender.load(saved), AGNNRecommender.load(saved)
    fit = KernelScorer.fit

    def stopping(*args, **run):
        fit(*args, **run)  # the network is done, too
        raise stop

    monkeypatch.setattr(KernelScorer, 'fit', stopping)
    with pytest.raises(stop):
        model.update(*news)
    assert content(model) == content(old)
    assert model.scorer_ is model._fitted_.scorer


def test_without_tables_ids_of_ratings_are_enough(planted):
    known = planted.ratings[['user', 'item', 'rating']]
    later = planted.later
    model = AGNNRecommender(**SETTINGS, kernel_weight=0.5).fit(known)
    model.update(later)
    assert set(model.vocabularies_['user'].values) == {*known['user'], *later['user']}
    assert model.predict(later).notna().all()


def test_positives(planted, monkeypatch):
    """Equal to a fit on all with the settings and the features of the first fit."""
    both = planted.ratings, planted.later
    pairs = [rows[rows['rating'] > 3][['user', 'item']] for rows in both]
    settings = {'rating': None, 'kernel_weight': 1.0, 'cv_folds': 2}
    monkeypatch.setattr(implicit, 'PRIORS', (0.0,))  # attributes have other codes
    model = AGNNRecommender(**settings)
    model.fit(pairs[0], planted.users, planted.items)
    first = model.scorer_.kernel
    model.update(pairs[1], planted.new_users, planted.new_items)

    def chosen(self, name):
        scale = first.scenarios[name].get('scale', 1.0)
        return first.chosen_[name], float(scale)

    features = iter(first.features.values())
    monkeypatch.setattr(implicit.ImplicitKernelScorer, '_choose', chosen)
    monkeypatch.setattr(implicit.ColumnFeatures, 'fit', lambda *_: next(features))
    users = pd.concat([planted.users, planted.new_users])
    items = pd.concat([planted.items, planted.new_items])
    whole = AGNNRecommender(**settings).fit(pd.concat(pairs), users, items)
    whole.scorer_.scales_ = model.scorer_.scales_  # an update keeps them
    every = users[['user']].merge(items[['item']], how='cross')
    found, expected = model.predict(every), whole.predict(every)
    assert np.abs(found - expected).max() < 1e-5
    # Positives add up, as those of repeated pairs do in a fit.
    with pytest.warns(UserWarning, match='has only pairs that the model knows'):
        model.update(pairs[0][:5])
    label = model._fitted_.rating
    assert torch.allclose(label[:5], torch.tensor(3.0).log2())
    assert (label[5:] == 1).all()
    assert len(label) == len(pairs[0]) + len(pairs[1])


def test_a_weight_far_above_those_of_the_fit_is_bounded_and_named(planted):
    rng, n = np.random.default_rng(0), 'minutes'
    weight = rng.integers(1, 9, len(planted.ratings)).astype(float)
    clicks = planted.ratings[['user', 'item']].assign(minutes=weight)
    settings = {'rating': None, 'weight': n, 'kernel_weight': 1.0, 'cv_folds': 2}
    model = AGNNRecommender(**settings, num_factors=4).fit(clicks[9:])
    later = clicks[:3].assign(minutes=[5.0, 1e9, 8.0])
    with pytest.warns(UserWarning, match=rf"'ratings'.* row {later.index[1]} \("):
        model.update(later)
    label = model._fitted_.rating[-3:]
    expected = np.log2(1 + np.array([5.0, 8.0, 8.0]) / clicks[n][9:].mean())
    assert label.tolist() == pytest.approx(expected)
