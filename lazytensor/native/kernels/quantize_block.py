"""Words of the kernels that quantize and dequantize rows: which of them means what.

Strides and item sizes are in bytes, extents and places in elements; all of them are int64. An
element of a group has the parameter numbered ``place // GROUP`` from where the row's begin.
"""

from __future__ import annotations

# Addresses of the first element, of its result, and of its parameters (float32, alike in strides);
# elements of a row, rows, and dims that rows are numbered along.
SOURCE, RESULT, SCALES, ZERO_POINTS, COUNT, ROWS, RANK = range(7)
# Elements of a group (0: there are none), the place of the first element, and from an element to
# the next along a row: the stride of parameters, and of places.
GROUP, FIRST, INNER_PARAMETER, INNER_PLACE = range(7, 11)
# Then for each dim of rows, outermost first: extent, strides of elements, results and parameters,
# and of places.
DIMS = 11
EXTENT, TO_SOURCE, TO_RESULT, PARAMETER, PLACE = range(5)
DIM_WORDS = 5
