"""Random small tables and graphs: gaps, ties, repeats, lone nodes."""

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st

from data.tables import RatingTables

seeds = st.integers(0, 2**31 - 1)


@st.composite
def rating_tables(draw):
    """Tables with ids of a random kind, and users and items without a rating."""
    num_users, num_items = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    make = draw(st.sampled_from([int, str, 'é{}'.format]))
    rng = np.random.default_rng(draw(seeds))
    user_ids, item_ids = (
        [make(i) for i in rng.permutation(100)[:n]] for n in (num_users, num_items)
    )
    rated = rng.random((num_users, num_items)) < draw(st.floats(0, 1))
    rated[rng.integers(num_users), rng.integers(num_items)] = True
    user, item = rated.nonzero()
    ratings = pd.DataFrame(
        {
            'user': [user_ids[u] for u in user],
            'item': [item_ids[i] for i in item],
            'rating': rng.integers(1, 6, len(user)) / draw(st.sampled_from([1, 2])),
        }
    )
    return RatingTables(
        pd.DataFrame({'user': user_ids}),
        pd.DataFrame({'item': item_ids}),
        ratings.sample(frac=1, random_state=int(rng.integers(99))),
    )


@st.composite
def sparse_matrices(draw, num_rows=None, columns=5):
    """A small non-negative matrix as an array; some rows may be empty."""
    rows = draw(st.integers(2, 12)) if num_rows is None else num_rows
    rng = np.random.default_rng(draw(seeds))
    values = rng.integers(1, draw(st.sampled_from([2, 6])), (rows, columns))
    return values * (rng.random((rows, columns)) < draw(st.floats(0, 1)))


@st.composite
def edges(draw, min_nodes=1):
    """Nodes, edges among them without repeats, and weights, some of them 0."""
    num_nodes = draw(st.integers(min_nodes, 9))
    rng = np.random.default_rng(draw(seeds))
    linked = rng.random((num_nodes, num_nodes)) < draw(st.floats(0, 1))
    index = torch.from_numpy(np.stack(linked.nonzero()))
    index = index[:, torch.from_numpy(rng.permutation(index.size(1)))]
    weight = torch.from_numpy(rng.integers(0, 4, index.size(1))).float()
    return num_nodes, index, weight
