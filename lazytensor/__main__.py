"""``python -m lazytensor`` is the command ``lazytensor``."""

from __future__ import annotations

import sys

from lazytensor.cli import main

if __name__ == "__main__":
    sys.exit(main())
