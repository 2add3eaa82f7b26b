"""The command ``agnn-pyg``, also ``python -m agnn_pyg``."""

import sys

from agnn_pyg.base.cli import CommandLine

main = CommandLine(
    'agnn-pyg',
    'agnn_pyg.recommender:AGNNRecommender',
    'Predict ratings and recommend items, for known and new users and items.',
)

if __name__ == '__main__':
    sys.exit(main())
