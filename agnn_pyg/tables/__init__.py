"""Own tables: ids and ratings, checked row by row, and the files they come in.

:mod:`tanp` imports this package, too.
"""

from agnn_pyg.tables.checks import check_columns, read_ratings, where
from agnn_pyg.tables.ids import Ids, read_ids
from agnn_pyg.tables.settings import Settings

__all__ = ['Ids', 'Settings', 'check_columns', 'read_ids', 'read_ratings', 'where']
