"""Sources of kernels: one module each, with a function ``kernel(p)`` as ``native.kernel`` wants it.

Only the compiling process imports them, so they import numba at the top like any numba code.
"""
