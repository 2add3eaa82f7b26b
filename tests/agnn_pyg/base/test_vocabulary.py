import datetime
import json
import uuid

import numpy as np
import pandas as pd
import pytest

from agnn_pyg.base.vocabulary import Vocabulary, read_ids


def column(*values, **kwargs):
    return pd.DataFrame({'user': pd.Series(list(values), **kwargs)})


def test_types_of_ids():
    for frame, dtype, values in [
        (column(3, 1, dtype='int8'), 'int', [3, 1]),
        (column(3.0, 1.0), 'int', [3, 1]),
        (column(1.0 - 2**53, 2**53 - 1.0), 'int', [1 - 2**53, 2**53 - 1]),
        (column(2**53, 2**53 + 1), 'int', [2**53, 2**53 + 1]),
        (column(np.uint8(3), 1, dtype=object), 'int', [3, 1]),
        (column('b', 'ä'), 'str', ['b', 'ä']),
        (column('b', 'a', dtype='string'), 'str', ['b', 'a']),
        (column('b', 'a', dtype='category'), 'str', ['b', 'a']),
        (column(uuid.UUID(int=7)), 'uuid', [uuid.UUID(int=7)]),
    ]:
        ids = read_ids(frame, 'user', 'users')
        assert ids.dtype == dtype
        assert ids.values.tolist() == values
        state = json.loads(json.dumps(ids.vocabulary().to_dict()))
        vocabulary = Vocabulary.from_dict(state)
        assert vocabulary.values.tolist() == values
        rows = vocabulary.rows(read_ids(frame[::-1], 'user', 'pairs'))
        assert rows.tolist() == [*range(len(frame))][::-1]
        assert vocabulary.parse([str(value) for value in values]) == values
        assert Vocabulary.from_ids(ids).values.tolist() == sorted(values)


def test_what_is_not_an_id():
    for frame, message in [
        (column(1, None), r"missing id in column 'user' in row 1 \(nan\); fill"),
        (column('a', ''), r"missing id in column 'user' in row 1 \(''\)"),
        (column(1, '1'), r"mixes int ids .* column 'user' in row 1 \('1'\); convert"),
        (column(1.0, 2.5), r'whole number.* in row 1 \(2.5\)'),
        (column(True), r'whole number, text or UUID .* row 0 \(True\)'),
        (column((1, 2)), r'row 0 \(\(1, 2\)\); convert all'),
        (column([0.5] * 99), r'row 0 \(\[0.5, .{70,72}\.\.\.\); convert all'),
        (column(datetime.date(2020, 1, 1)), 'whole number'),
        (column(4, 5, 4), r"repeats an id of column 'user' in row 2 \(4\); keep one"),
        (column(2.0**53 - 1, 2.0**53), r"2\*\*53 or .* row 1 \(9.*'user': 'Int64'}"),
        (column(-1e300), r'not exact, in'),
        (column(2**70), r'64-bit whole number.* row 0'),
    ]:
        with pytest.raises(ValueError, match=f"'users' .*{message}"):
            read_ids(frame, 'user', 'users').vocabulary()


def test_ids_that_are_unknown_or_of_another_type():
    ids = Vocabulary('int', np.array([4, 5])).append(np.array([9]))
    found = read_ids(column(9, 7, 4), 'user', 'pairs')
    rows = ids.rows(found)
    assert rows.tolist() == [2, -1, 0]
    with pytest.raises(ValueError, match=r"'pairs' .* 'users'.* row 1 \(7\); add"):
        found.check_known(ids, 'users')
    texts = Vocabulary('str', np.array(['A7', '012'], object))
    assert texts.like('\uff217') == 'A7'
    for written, like in (('a7', 'A7'), ('12', '012'), (' A7', 'A7'), ('12.0', '012')):
        found = read_ids(column('A7', written), 'user', 'pairs')
        with pytest.raises(ValueError, match=rf"alike, such as '{like}' in 'users'"):
            found.check_known(texts, 'users')
        with pytest.warns(UserWarning, match='row 1'):
            read_ids(column(like, written), 'user', 'pairs').warn_of_odd()
    with pytest.warns(UserWarning, match=r"'A7', .* row 0 \('a7'\)"):  # the rarer one
        read_ids(column('a7', 'A7', 'A7'), 'user', 'pairs').warn_of_odd()
    wrong = {'4': r"row 0 \('4'\); .*astype\(int\), unless users"}
    wrong['4 4x'] = r"row 1 \('4x'\); correct what is no int"
    for texts, named in wrong.items():
        with pytest.raises(ValueError, match=f"'pairs' has str ids.* as 4.*{named}"):
            ids.rows(read_ids(column(*texts.split()), 'user', 'pairs'))
    texts = Vocabulary('str', np.array(['7', '8'], object))
    with pytest.raises(ValueError, match=r", \.astype\('Int64'\)\.astype\(str\)"):
        texts.rows(read_ids(column(7.0, 8.0), 'user', 'pairs'))
    # An empty column has no type of its own.
    assert not len(ids.rows(read_ids(column(dtype=object), 'user', 'pairs')))
    with pytest.raises(ValueError, match=r"no int id .*row 1 \('x'\)"):
        ids.parse(['4', 'x'])
