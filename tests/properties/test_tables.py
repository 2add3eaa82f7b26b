"""Tables and attributes: what is encoded, and what comes back from a file."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agnn_pyg import AttributeEncoder
from agnn_pyg.base.vocabulary import Vocabulary, read_ids
from tests.properties.strategies import attribute_frames

# Of columns of nothing, and of other values than those of the fit.
pytestmark = pytest.mark.filterwarnings('ignore:.*(o value of|as no value in) column')


def same(one, other):
    return all(torch.equal(a, vars(other)[k]) for k, a in vars(one).items())


@given(attribute_frames(), st.integers(1, 3), st.integers(2, 5))
def test_encoded_attributes_are_bags_of_known_tokens(table, min_count, num_knots):
    frame, columns = table
    encoder = AttributeEncoder(columns, min_count=min_count, num_knots=num_knots)
    bags = encoder.fit_transform(frame)
    assert bags.index.size() == bags.weight.size()
    assert bags.index.size(0) == len(frame)
    assert bags.index.ge(0).all()
    assert bags.index.lt(bags.num_tokens).all()
    assert bags.weight.ge(0).all()
    assert bags.weight.le(1).all()
    assert np.isfinite(bags.multi_hot().toarray()).all()
    # What an encoder is saved as encodes alike, and unseen rows to something.
    again = AttributeEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert same(again.transform(frame), bags)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.text(min_size=1), min_size=1))
def test_ids_are_of_one_kind_or_refused(values):
    frame = pd.DataFrame({'user': pd.Series(values, dtype=object)})
    kinds = {type(value) for value in values}
    try:
        ids = Vocabulary.from_ids(read_ids(frame, 'user', 'users'))
    except ValueError as error:
        assert "'users' mixes" in str(error)  # noqa: PT017
        assert len(kinds) == 2
        return
    assert len(kinds) == 1
    again = Vocabulary.from_dict(json.loads(json.dumps(ids.to_dict())))
    assert again.values.tolist() == ids.values.tolist() == sorted(set(values))
    rows = again.rows(read_ids(frame, 'user', 'users'))
    assert again.values[rows].tolist() == values
