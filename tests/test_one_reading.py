"""A fit reads each column of ids and each column of attributes once."""

from collections import Counter

import pytest

from agnn_pyg.base import encoder, frames
from agnn_pyg.recommender import AGNNRecommender
from data.synthetic import planted_tables
from tanp.recommender import TaNPRecommender


@pytest.mark.parametrize('recommender', [AGNNRecommender, TaNPRecommender])
def test_a_fit_reads_each_column_once(recommender, monkeypatch):
    tables = planted_tables(40, 30, density=0.5, seed=0)
    reads = Counter()

    def count(module, name):
        function = getattr(module, name)

        def counted(frame, column, *args, **kwargs):
            reads[id(frame), column] += 1
            return function(frame, column, *args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    count(frames, 'read_ids')
    for module in (encoder, frames):
        count(module, 'parse_column')
    ratings, validation = tables.ratings.iloc[::2], tables.ratings.iloc[1::2]
    few = {} if recommender is TaNPRecommender else {'kernel_steps': 0, 'cv_folds': 2}
    model = recommender(epochs=1, min_count=1, **few)
    model.fit(ratings, tables.users, tables.items, validation)
    of_nodes = [(id(f), c) for f in (tables.users, tables.items) for c in f.columns]
    rated = [(id(f), c) for f in (ratings, validation) for c in ('user', 'item')]
    assert reads == Counter(of_nodes + rated)
