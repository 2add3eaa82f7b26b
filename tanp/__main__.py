"""The command ``tanp``, also ``python -m tanp``."""

import sys

from agnn_pyg.base.cli import CommandLine


def _load_class() -> type:
    from tanp.recommender import TaNPRecommender

    return TaNPRecommender


main = CommandLine(
    'tanp',
    _load_class,
    'Rate and recommend from the first ratings of new users, without training again.',
    adapts=True,
)

if __name__ == '__main__':
    sys.exit(main())
