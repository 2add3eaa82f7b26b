"""Positive interactions without ratings, new items, and explanations."""

import numpy as np
import pandas as pd
import pytest
import torch

from agnn_pyg.base.frames import read_ratings
from tanp import EpisodeLoader, TaNPRecommender
from tanp.loss import weighted_cross_entropy
from tests.tanp.conftest import with_support_size
from tests.tanp.test_loader import all_tasks
from tests.tanp.test_recommender import films, halves

QUICK = {'rating': None, 'support_sizes': (1, 4), 'batch_size': 16}


def likes(users):
    """The items of their own half that users like, without ratings."""
    frame = halves(users)
    return frame[frame['rating'] > 3].drop(columns='rating')


def genres(*rows):
    items = [f'new {n}' for n in range(len(rows))]
    return pd.DataFrame({'item': items, 'genre': rows})


@pytest.fixture(scope='module')
def fitted():
    """One film more than anybody likes."""
    more = pd.DataFrame({'item': ['unseen'], 'genre': [['war', 'sea']]})
    items = pd.concat([films(), more], ignore_index=True)
    made = TaNPRecommender(**QUICK, epochs=6)
    held_out = likes(np.arange(200, 220))
    return made.fit(likes(np.arange(80)), None, items, held_out)


@pytest.fixture(scope='module')
def later():
    frame = likes(np.arange(100, 112))
    first = frame.groupby('user').cumcount() < 3
    return frame[first], frame[~first]


def test_unseen_items_are_ranked_by_taste(fitted, later):
    adapted = fitted.adapt(later[0])
    top = adapted.recommend(k=5)
    assert list(top.columns) == ['user', 'item', 'score', 'rank']
    seen = top[top['item'] != 'unseen']
    parity = seen['item'].str.removeprefix('film ').astype(int) % 2
    assert (parity == seen['user'] % 2).mean() > 0.9
    assert top.merge(later[0], on=['user', 'item']).empty
    predicted = adapted.predict(top)
    assert predicted.name == 'score'
    assert np.allclose(predicted, top['score'], atol=1e-5)
    hits = top.merge(later[1]).groupby('user').size().reindex(later[1]['user'].unique())
    held = later[1].groupby('user').size()
    found = adapted.evaluate(later[1], k=5)
    assert found['precision@5'] == pytest.approx(hits.fillna(0).mean() / 5)
    assert found['recall@5'] == pytest.approx((hits.fillna(0) / held).mean())
    assert found['coverage@5'] == top['item'].nunique() / 41
    assert fitted.score(pd.concat(later)) > 0.3
    history = [epoch['val_loss'] for epoch in fitted.history_]
    assert history[-1] < 0.9 * history[0]


def test_the_place_of_an_unseen_item_in_a_support_changes_nothing(fitted, later):
    unseen = pd.DataFrame({'user': later[0]['user'].unique(), 'item': 'unseen'})
    supports = [unseen, later[0]], [later[0], unseen]
    first, last = (fitted.adapt(pd.concat(s)).predict(later[1]) for s in supports)
    assert np.allclose(first, last, atol=1e-5)


def test_repeated_pairs_are_summed_as_counts_and_said_once(later):
    known = likes(np.arange(20))
    repeated = pd.concat([known, known[::3]])
    counted = known.assign(n=1.0 + (np.arange(len(known)) % 3 == 0))
    with pytest.warns(UserWarning, match='summed') as caught:
        one = TaNPRecommender(**QUICK, epochs=2).fit(repeated)
    (said,) = [w for w in caught if 'summed' in str(w.message)]
    assert f'{len(known[::3])}' in str(said.message)
    one.adapt(pd.concat([later[0], later[0]]))  # not again
    other = TaNPRecommender(**QUICK, epochs=2, weight='n').fit(counted)
    plain = TaNPRecommender(**QUICK, epochs=2).fit(known)
    scores = [
        model.adapt(later[0].assign(n=1.0)).recommend(k=40)['score'].to_numpy()
        for model in (one, other, plain)
    ]
    assert np.array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2], atol=1e-4)
    # A weight is as good in another unit, and weights of a support count, too.
    times = counted.assign(n=60 * counted['n'])
    scaled = TaNPRecommender(**QUICK, epochs=2, weight='n').fit(times)
    support = later[0].assign(n=60.0)
    assert np.allclose(scaled.adapt(support).recommend(k=40)['score'], scores[0])
    support.loc[support.index[0], 'n'] = 1200.0
    assert not np.allclose(scaled.adapt(support).recommend(k=40)['score'], scores[0])
    support.loc[support.index[1], 'n'] = 1201.0
    with pytest.warns(UserWarning, match=r"'support' .* most 120, in row \d+ \(\d+,"):
        scaled.adapt(support)


def test_weights_are_logarithms_that_weigh_the_loss():
    known = likes(np.arange(20)).assign(n=3.0)
    known.iloc[0, -1] = 9.0
    fit = TaNPRecommender(**QUICK, epochs=1, weight='n').fit(known)
    mean = known['n'].mean()
    found = fit._fitted_.to_labels(read_ratings(known, 'ratings', fit.config))
    assert found[:2] == pytest.approx(np.log2(1 + np.array([9, 3]) / mean))
    score, label = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([2.5, 0.0, 1.0])
    loss = weighted_cross_entropy(score, label)
    sign, weight = torch.tensor([1, -1, 1]), torch.tensor([2.5, 1, 1])
    expected = -weight * torch.sigmoid(score * sign).log()
    assert torch.allclose(loss, expected)


def test_negatives_are_drawn_from_what_a_user_lacks(tasks):
    expected = {int(u): set() for u in tasks.user}
    for user, support, query in all_tasks(EpisodeLoader(tasks, 6)):
        expected[user] |= {item for item, _ in support + query}
    drawn = {user: [] for user in expected}
    loader = EpisodeLoader(
        tasks, 4, support_sizes=(1, 3), negatives=3, num_items=20, shuffle=True
    )
    for epoch in range(60):
        loader.set_epoch(epoch)
        for user, support, query in all_tasks(loader):
            positive = len(expected[user]) - len(support)
            negative = query[positive:]
            assert {i for i, _ in support + query[:positive]} == expected[user]
            assert len(negative) == 3 * positive
            assert all(label == 0 for _, label in negative)
            drawn[user] += [item for item, _ in negative]
    for user, items in drawn.items():
        lacked = {*range(20)} - expected[user]
        assert {*items} == lacked
        share = np.bincount(items, minlength=20)[[*lacked]] / len(items)
        assert np.allclose(share, 1 / len(lacked), atol=0.6 / len(lacked))
    # Who has all items lacks none; validation draws the same each time.
    full = tasks.select(torch.tensor([2]))
    rows = {int(item): n for n, item in enumerate(full.item)}
    full.item.copy_(torch.tensor([rows[int(i)] for i in full.item]))
    loader = EpisodeLoader(full, negatives=3, num_items=len(rows))
    assert [len(query) for *_, query in all_tasks(loader)] == [6]
    loader = EpisodeLoader(with_support_size(tasks, 2), negatives=1, num_items=20)
    assert all_tasks(loader) == all_tasks(loader)


def test_what_cannot_be_read_as_positives_is_named(fitted, later):
    known = likes(np.arange(20)).assign(n=1.0)
    fit = TaNPRecommender(**QUICK, weight='n').fit
    with pytest.raises(ValueError, match=r"'ratings'.*'n' in row"):
        fit(known.assign(n=0.0))
    for name, value in (
        *(('likelihood', 'gaussian'), ('rating_range', (0, 1))),
        *(('scale_ratings', False), ('num_gps', 2), ('damping', 1.0)),
        *(('kl_weight', 2.0), ('temperature', 2.0)),
    ):
        options = {'latent_channels': None, 'num_clusters': 0, name: value}
        with pytest.raises(ValueError, match=f"'{name}'"):
            TaNPRecommender(rating=None, model='TaNP', **options).fit(known)
    for name, value in ('weight', 'n'), ('negatives', 5):
        with pytest.raises(ValueError, match=f"'{name}'"):
            TaNPRecommender(**{name: value}).fit(known)
    sizes = {'support_sizes': (1, 4)}
    published = TaNPRecommender.as_published(rating=None, epochs=1, **sizes).fit(known)
    assert published.adapt(later[0]).recommend(k=2)['score'].notna().all()
    with pytest.raises(ValueError, match="'nobody knows'"):
        fitted.adapt(later[0].head(1).assign(item='nobody knows'))
    with pytest.raises(ValueError, match='two interactions'):
        fit(known.assign(item='film 1').drop_duplicates('user'))
    # An item that everybody has is no obstacle.
    everybody = known.drop_duplicates('user').assign(item='film 0')
    with pytest.warns(UserWarning, match='summed'):
        fit(pd.concat([known, everybody]))


def test_effects_of_a_support_are_what_scores_lose_without_it(fitted, later):
    support = later[0][later[0]['user'] == 103].reset_index(drop=True)
    found = fitted.adapt(later[0]).explain(103, 'film 9')
    pair = pd.DataFrame({'user': [103], 'item': ['film 9']})

    def score(rows):
        return fitted.adapt(rows).predict(pair).item()

    assert found.score == pytest.approx(score(support), abs=1e-6)
    assert set(found.support['item']) == set(support['item'])
    for item, effect in found.support.itertuples(index=False):
        rest = score(support[support['item'] != item])
        assert effect == pytest.approx(found.score - rest, abs=1e-6)
    assert found.support['effect'].abs().is_monotonic_decreasing
    assert found.without != pytest.approx(found.score, abs=1e-3)
    assert 'effect' in str(found)


def test_items_that_arrive_later_are_read_by_their_attributes(fitted, later):
    adapted, new = fitted.adapt(later[0]), genres(['war', 'sea'], ['love'], [])
    found = adapted.recommend([100], k=9, items=new).set_index('item')['score']
    pairs = pd.DataFrame({'user': 100, 'item': ['unseen', *new['item']]})
    scores = adapted.predict(pairs, items=new).to_numpy()
    # To the model it is the film of the fit that nobody has seen.
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    arrived = adapted.recommend(items=new, k=1)
    liked = arrived['user'].mod(2).map({0: 'new 1', 1: 'new 0'})
    assert (arrived['item'] == liked).mean() > 0.9
    assert np.allclose(found[new['item']], scores[1:], atol=1e-5)
    assert len({*scores.round(5)}) == 3
    whole = adapted.recommend(items=pd.concat([films(), new]), k=50)
    known = whole[~whole['item'].isin(new['item'])].drop(columns='rank')
    expected = adapted.recommend(items=films(), k=50).drop(columns='rank')
    pd.testing.assert_frame_equal(known.reset_index(drop=True), expected, atol=1e-5)
    every = pd.concat([films(), new]).assign(title='A')
    effects = adapted.explain(100, 'new 0', items=every)
    assert effects.score == pytest.approx(scores[1], abs=1e-6)
    assert set(effects.support['item title']) == {'A'}
    support = adapted.explain(100, 'new 0', items=new.assign(title='A')).support
    assert 'item title' not in support  # of films that it does not tell
    with pytest.raises(ValueError, match='does not know'):
        adapted.recommend(items=['new 0'])
    bare = TaNPRecommender(**QUICK, epochs=1).fit(likes(np.arange(20)))
    with pytest.raises(ValueError, match=r"does not know.*or fit with a table 'items'"):
        bare.adapt(later[0]).recommend(items=new)
