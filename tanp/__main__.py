"""``python -m tanp`` is the command ``tanp``."""

import sys

from tanp.command import main

if __name__ == '__main__':
    sys.exit(main())
