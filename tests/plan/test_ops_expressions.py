"""Where the table has a scalar expression; ``exec/test_expressions`` says what it means."""

from __future__ import annotations

import numpy as np

from lazytensor.plan.ops import ELEMENTWISE


def test_no_expression_where_only_numpy_is_right() -> None:
    def expression(name: str, *codes: str) -> str | None:
        row = ELEMENTWISE[name]
        return row.expression(row.loop(tuple(np.dtype(code) for code in codes)))

    assert expression("pow", "i4", "i4") is None
    assert expression("exp", "f4") is None
    assert expression("floor_divide", "f8", "f8") is None
    assert expression("floor_divide", "i8", "i8") is None
    assert expression("add", "f2", "f2") is None
    assert expression("add", "c8", "c8") is None
    assert expression("less", "i8", "u8") is None  # compiled code rounds both to a float
    assert expression("equal", "U3", "U3") is None
    assert expression("add", "f4", "f4") == "{0} + {1}"
    assert (
        expression("bitwise_left_shift", "i4", "i4")
        == "({0} << {1} if 0 <= {1} < 32 else {0} ^ {0})"
    )
