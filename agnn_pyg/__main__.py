"""The command ``agnn-pyg``, also ``python -m agnn_pyg``."""

import sys

from agnn_pyg.base.cli import CommandLine


def _load_class() -> type:
    from agnn_pyg.recommender import AGNNRecommender

    return AGNNRecommender


main = CommandLine(
    'agnn-pyg',
    _load_class,
    'Rate and recommend from tables, for known and new users and items.',
)

if __name__ == '__main__':
    sys.exit(main())
