"""What a fit costs on u1 of MovieLens-100K, beside a Bayesian factorization machine."""

import time

import pytest

from agnn_pyg.recommender import AGNNRecommender
from benchmarks.baselines.factorization import BayesianFM
from benchmarks.baselines.linear import DampedBiases, Ridge
from benchmarks.perf.conftest import in_new_process
from benchmarks.problems import make_problem
from benchmarks.records import peak_memory_mb

ATTRIBUTES = {'user_attributes': ['age', 'gender', 'occupation']}
ATTRIBUTES |= {'item_attributes': ['genre', 'country', 'year']}
# Back to back: ratios to the Bayesian FM are what counts.
ESTIMATORS = {
    'damped biases': (DampedBiases, {}),
    'ridge': (Ridge, {}),
    'Bayesian FM': (BayesianFM, {'rank': 8}),
    'AGNN network': (AGNNRecommender, {'kernel_weight': 0.0}),
    'blend': (AGNNRecommender, {}),
}


def cost(name):
    """CPU seconds and peak memory of a fit, and the test RMSE."""
    problem = make_problem('ml-100k-u', 'warm', 1, {}, False)
    kind, settings = ESTIMATORS[name]
    start = time.process_time()
    fitted = problem.refit(kind(**ATTRIBUTES, **settings), None)
    measures = {'cpu_seconds': time.process_time() - start}
    measures['peak_memory_mb'] = peak_memory_mb()
    return measures | {'rmse': dict(problem.test(fitted))['test']['rmse']}


@pytest.mark.parametrize('name', ESTIMATORS)
def test_fit(name, record, benchmark):
    """One fit at the defaults, once."""
    found = benchmark.pedantic(in_new_process, (cost, name))
    record('fit', {'estimator': name, 'data': 'ml-100k u1'}, **found)
