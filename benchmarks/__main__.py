"""``python -m benchmarks`` is ``python benchmarks/run.py``.

The scripts here import each other by their bare names, as scripts beside each other do; that works
when their folder is on the path, which a run by module name does not see to.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from run import main

sys.exit(main())
