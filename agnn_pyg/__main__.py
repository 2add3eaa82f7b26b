"""``python -m agnn_pyg`` is the command ``agnn-pyg``."""

import sys

from agnn_pyg.command import main

if __name__ == '__main__':
    sys.exit(main())
