import datetime
import uuid

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.base.vocabulary import Vocabulary, read_ids


def column(*values, **kwargs):
    return pd.DataFrame({'user': pd.Series(list(values), **kwargs)})


@pytest.mark.parametrize(
    ('frame', 'kind', 'values'),
    [
        (column(3, 1), 'int', [3, 1]),
        (column(3.0, 1.0), 'int', [3, 1]),
        (column(1.0 - 2**53, 2**53 - 1.0), 'int', [1 - 2**53, 2**53 - 1]),
        (column(2**53, 2**53 + 1), 'int', [2**53, 2**53 + 1]),
        (column(3, 1, dtype='Int64'), 'int', [3, 1]),
        (column(np.uint8(3), 1, dtype=object), 'int', [3, 1]),
        (column('b', 'ä'), 'str', ['b', 'ä']),
        (column('b', 'a', dtype='string'), 'str', ['b', 'a']),
        (column('b', 'a', dtype='category'), 'str', ['b', 'a']),
        (column(uuid.UUID(int=7)), 'uuid', [uuid.UUID(int=7)]),
    ],
)
def test_kinds(frame, kind, values):
    found, read = read_ids(frame, 'user', 'users')
    assert found == kind
    assert read.tolist() == values
    ids = Vocabulary(found, read)
    assert Vocabulary.from_dict(ids.to_dict()).values.tolist() == values
    assert ids.rows(frame[::-1], 'user', 'pairs').tolist() == [*range(len(frame))][::-1]


def test_no_rows():
    frame = column(dtype=object)
    assert Vocabulary('str', np.array(['a'], object)).rows(frame, 'user', 'x').size == 0


@pytest.mark.parametrize(
    ('frame', 'message'),
    [
        (column(1, None), r"'users' misses the id in column 'user' in row 1 \(nan\)"),
        (column('a', ''), r"misses the id in column 'user' in row 1 \(''\); fill it"),
        (column(1, '1'), r"mixes int ids and others .* row 1 \('1'\); make them all"),
        (column(1.0, 2.5), r'something else than a whole number.*row 0 \(1.0, the'),
        (column(True), r'something else than a whole number, a text or a UUID'),
        (column((1, 2)), r'row 0 \(\(1, 2\)\); make texts of them, .astype\(str\)'),
        (column(datetime.date(2020, 1, 1)), 'something else than a whole number'),
        (column(4, 5, 4), r"repeats an id of column 'user' in row 2 \(4\); keep one"),
        (
            column(float(2**53 - 1), float(2**53)),
            r"not exact from 2\*\*53 on, in column 'user' in row 1 \(9007199254740992.0"
            r"\); read the column as texts or .*dtype={'user': 'Int64'}",
        ),
        (column(-1e300), r'not exact from'),
        (column(2**70), r'whole numbers beyond 64 bits'),
    ],
)
def test_what_is_no_id(frame, message):
    with pytest.raises(ValueError, match=message):
        read_ids(frame, 'user', 'users', distinct=True)


def test_another_kind():
    ids = Vocabulary('int', np.array([4, 5]))
    with pytest.raises(ValueError, match=r"'pairs' has str ids .*row 0: '4'.*as 4\)"):
        ids.rows(column('4'), 'user', 'pairs')
