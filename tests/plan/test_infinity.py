"""``lt.inf`` is a float to arrays and a coordinate to the index algebra."""

from __future__ import annotations

import copy
import math
import operator
import pickle

import numpy as np
import pytest

import lazytensor as lt


def test_it_is_the_floating_point_infinity() -> None:
    assert math.isinf(lt.inf) and isinstance(lt.inf, float) and lt.inf == float("inf")
    assert np.asarray(lt.inf).dtype == np.float64 and f"{-lt.inf}" == "-inf"
    with pytest.raises(OverflowError):
        int(lt.inf)


def test_it_is_the_unbounded_coordinate() -> None:
    assert operator.index(lt.inf) == 2**62 - 1 == lt.inf
    assert -lt.inf == -(2**62 - 1) and lt.inf != 2**62 and lt.inf != -lt.inf
    domain = lt.IndexDomain([lt.Dim(inclusive_min=-lt.inf, inclusive_max=lt.inf)])
    assert domain.inclusive_min == (-lt.inf,) and domain.inclusive_max == (lt.inf,)


def test_copies() -> None:
    for value in (lt.inf, -lt.inf):
        for again in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert again == value and type(again) is type(value)
