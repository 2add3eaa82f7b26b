from collections import Counter

import numpy as np
import scipy.sparse
import scipy.stats

from agnn_pyg.graph.duplicates import expand, group, levels


def rows_of(values):
    return scipy.sparse.csr_matrix(np.array(values, dtype=float))


def expanded(row, profile, weight, profiles, size, seed=0):
    """The candidate set of each node, as a dictionary from candidate to weight."""
    found = levels(
        *(np.array(part) for part in (row, profile, weight)), profiles.count, size
    )
    found_sets = {}
    for nodes, counts, source, weights in expand(
        found, profiles, np.random.default_rng(seed)
    ):
        ends = counts.cumsum()
        for node, end, count in zip(nodes, ends, counts, strict=True):
            part = slice(end - count, end)
            assert node not in found_sets
            found_sets[node] = dict(zip(source[part], weights[part], strict=True))
            assert len(found_sets[node]) == count  # no repeats
    return found_sets


def test_rows_are_compared_by_value():
    # The same row: out of order, in two parts, and with a zero that is stored.
    data = [1.0, 2, 2, 1, 1.5, 0.5, 1, 0]
    indices = [0, 3, 3, 0, 3, 3, 0, 1]
    matrix = scipy.sparse.csr_matrix((data, indices, [0, 2, 4, 8]), shape=(3, 4))
    assert group(matrix).count.tolist() == [3]
    assert matrix.nnz == 8  # the argument is left alone


def test_a_level_that_fits_in_part_is_sampled_evenly():
    # Of node 0's seven others in two tied profiles, three fit.
    profiles = group(rows_of([[1], [1], [2], [1], [2], [1], [1], [1]]))
    count = Counter()
    for seed in range(1500):
        found_sets = expanded([0, 0], [0, 1], [1, 1], profiles, 3, seed)
        count.update(found_sets[0])
    assert sorted(count) == list(range(1, 8))
    assert scipy.stats.chisquare(list(count.values())).pvalue > 1e-3
