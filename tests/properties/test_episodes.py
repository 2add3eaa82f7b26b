"""Episodes and their loader."""

from hypothesis import given
from hypothesis import strategies as st

from tanp import EpisodeLoader
from tests.properties.strategies import episodes, seeds
from tests.tanp.test_loader import all_tasks


@given(episodes(), st.integers(1, 4), seeds)
def test_resampling_loses_nothing(tasks, batch_size, seed):
    options = {'support_sizes': (1, 3), 'shuffle': True, 'seed': seed % 1000}
    loader = EpisodeLoader(tasks, batch_size, **options)
    expected = {
        int(user): sorted(zip(*(part.tolist() for part in parts), strict=True))
        for user, *parts in zip(
            tasks.user,
            tasks.item.split(tasks.size.tolist()),
            tasks.label.split(tasks.size.tolist()),
            strict=True,
        )
    }
    made = all_tasks(loader)
    assert {u: sorted(one + two) for u, one, two in made} == expected
    assert all(support and query for _, support, query in made)
