"""Names that every example in a docstring may use: ``lt`` and ``np``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _pytest.doctest import DoctestItem


@pytest.fixture(autouse=True)
def _example_names(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """Only examples get the names, so that a test of one module imports that module alone."""
    if not isinstance(request.node, DoctestItem):
        return
    import lazytensor

    doctest_namespace["lt"] = lazytensor
    doctest_namespace["np"] = np
