"""Own tables: ids, ratings and attribute columns, checked row by row.

What :class:`~agnn_pyg.recommender.AGNNRecommender` and the recommender of
:mod:`tanp` have in common.
"""

from agnn_pyg.base.attributes import (
    Columns,
    attribute_columns,
    naming,
    with_constant,
    with_missing,
)
from agnn_pyg.base.frames import (
    check_columns,
    check_known,
    check_spread,
    table_of,
    unit_of,
    where,
)
from agnn_pyg.base.settings import Settings
from agnn_pyg.base.store import (
    check_place,
    load_module,
    read_folder,
    read_tensors,
    write_folder,
    write_tensors,
)
from agnn_pyg.base.vocabulary import Vocabulary, read_ids, read_rated_pairs

__all__ = [
    'Columns',
    'Settings',
    'Vocabulary',
    'attribute_columns',
    'check_columns',
    'check_known',
    'check_place',
    'check_spread',
    'load_module',
    'naming',
    'read_folder',
    'read_ids',
    'read_rated_pairs',
    'read_tensors',
    'table_of',
    'unit_of',
    'where',
    'with_constant',
    'with_missing',
    'write_folder',
    'write_tensors',
]
