"""The command line interface ``tanp``, also ``python -m tanp``."""

import sys

from agnn_pyg.base.cli import CommandLine

main = CommandLine(
    'tanp',
    'tanp.recommender:TaNPRecommender',
    'Rate and recommend from the first ratings of new users, without retraining.',
    adapts=True,
)

if __name__ == '__main__':
    sys.exit(main())
