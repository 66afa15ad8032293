"""What all tests share: the hypothesis profile and where the real images are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "lazytensor",
    deadline=None,  # machines differ, and nothing here is a timed test
    max_examples=60,
    derandomize="CI" in os.environ,
    # Laws that need a special plan find one often enough, whatever the ratio.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("lazytensor")

# Scripts that say how the vectors were made; they need packages that the tests do not.
collect_ignore_glob = ["vectors/*"]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real images: ``LAZYTENSOR_TEST_DATA``, else ``../shared/data``."""
    root = REPOSITORY / os.environ.get("LAZYTENSOR_TEST_DATA", "../shared/data")
    if not root.is_dir():
        pytest.skip(f"no real images at {root}: set LAZYTENSOR_TEST_DATA")
    return root
