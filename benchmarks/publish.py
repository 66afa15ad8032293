"""Everything, and its tables into README.md: ``python benchmarks/publish.py [--fused-python X]``.

Takes a quarter of an hour on a machine that should have nothing else to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

_HERE = Path(__file__).parent


def main() -> int:
    """The first exit status that is not 0, or 0; a script that fails keeps none from running."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fused-python", default=sys.executable, help="as in run.py")
    parser.add_argument("--ome-arrow-python", default=sys.executable, help="--peer of ome_arrow.py")
    arguments = parser.parse_args()
    fused = ["--fused-python", arguments.fused_python]
    statuses = [
        subprocess.run([sys.executable, _HERE / script, "--readme", *options], check=False)
        for script, options in (
            ("engine.py", ["--start", "15"]),
            ("engine_scaling.py", []),
            ("packets.py", []),
            ("ome_arrow.py", ["--peer", arguments.ome_arrow_python]),
            ("run.py", fused),
            ("remote.py", []),
            ("memory.py", fused),
            ("planning.py", []),
            ("estimates.py", []),
        )
    ]
    return next((done.returncode for done in statuses if done.returncode), 0)


if __name__ == "__main__":
    sys.exit(main())
