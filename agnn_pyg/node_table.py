"""One side of a recommender: who is known, and how attributes are encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from agnn_pyg.base.attributes import (
    Columns,
    attribute_columns,
    naming,
    with_constant,
    with_missing,
)
from agnn_pyg.base.encoder import AttributeEncoder, TokenBags
from agnn_pyg.base.frames import check_columns, check_known
from agnn_pyg.base.vocabulary import Vocabulary, read_ids


@dataclass
class NodeTable:
    """The users or the items of a fit.

    Attributes:
        name: What messages call the table, :obj:`"users"` or :obj:`"items"`.
        ids: The ids, one a row.
        embedded: Encodes what is embedded: the vocabulary of rated nodes.
        compared: Encodes what is compared: the vocabulary of all nodes.
        profiles: The compared attributes of all rows.
    """

    name: str
    ids: Vocabulary
    embedded: AttributeEncoder
    compared: AttributeEncoder
    profiles: TokenBags

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame | None,
        ratings: pd.DataFrame,
        *,
        name: str,
        column: str,
        attributes: Columns | None,
        min_count: int,
        num_knots: int,
    ) -> tuple[NodeTable, TokenBags]:
        """Fits vocabularies on a table, or on nothing where there is none.

        Returns:
            The table and the embedded attributes of its rows.

        Raises:
            ValueError: If ids are unfit, ratings name a node without a row, or
                an attribute column is lacking.
        """
        if frame is None:
            ids = Vocabulary.distinct(*read_ids(ratings, column, 'ratings'))
            frame = pd.DataFrame({column: ids.values})
        else:
            check_columns(frame, name, [column])
            ids = Vocabulary(*read_ids(frame, column, name, distinct=True))
        if not len(ids):
            raise ValueError(f"'{name}' has no rows; leave it out, or give it some")
        rows = ids.rows(ratings, column, 'ratings')
        check_known(ratings, rows, column, 'ratings', name)
        if len(ids) == 1:
            raise ValueError(
                f"'{name}' has a single row, which leaves no neighbours to draw; add "
                f'another, rated or not'
            )
        trained = np.zeros(len(frame), dtype=bool)
        trained[rows] = True

        columns = attribute_columns(frame, name, column, attributes)
        embedded = AttributeEncoder(columns, min_count, num_knots)
        compared = AttributeEncoder(columns, num_knots=num_knots)
        frame = with_constant(frame)
        with naming(name):
            encoded = embedded.fit(frame[trained]).transform(frame)
            profiles = compared.fit_transform(frame)
        return cls(name, ids, embedded, compared, profiles), encoded

    def unknown(self, frame: pd.DataFrame | None, column: str) -> pd.DataFrame | None:
        """The rows of a frame whose ids the table does not hold, if there are any.

        Raises:
            ValueError: If ids are unfit or repeated.
        """
        if frame is None:
            return None
        check_columns(frame, self.name, [column])
        read_ids(frame, column, self.name, distinct=True)
        new = frame[self.ids.rows(frame, column, self.name) < 0]
        return new if len(new) else None

    def encode(
        self, frame: pd.DataFrame, column: str
    ) -> tuple[np.ndarray, TokenBags, TokenBags]:
        """Ids, embedded and compared attributes of nodes never seen.

        Of a table of ids alone, all attributes are missing.
        """
        _, ids = read_ids(frame, column, self.name)
        columns = [field.column for field in self.embedded.fields]
        frame = with_constant(with_missing(frame, column, columns))
        with naming(self.name):
            return ids, self.embedded.transform(frame), self.compared.transform(frame)

    def to_dict(self) -> dict[str, Any]:
        """All but tensors as plain data, ready for JSON."""
        return {
            'name': self.name,
            'ids': self.ids.to_dict(),
            'embedded': self.embedded.to_dict(),
            'compared': self.compared.to_dict(),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that :meth:`to_dict` leaves out."""
        return dict(vars(self.profiles))

    @classmethod
    def from_dict(
        cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> NodeTable:
        """The inverse of :meth:`to_dict` and :meth:`tensors`."""
        return cls(
            state['name'],
            Vocabulary.from_dict(state['ids']),
            AttributeEncoder.from_dict(state['embedded']),
            AttributeEncoder.from_dict(state['compared']),
            TokenBags(**tensors),
        )
