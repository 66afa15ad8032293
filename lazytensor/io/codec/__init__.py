"""Codecs of zarr: from stored bytes to decoded bytes, each checked before and after.

The decoders themselves come from numcodecs, zstandard, lz4 and isal; what is ours is the guard
around them. A decoder is told how many bytes must come out, looks for that number in the header
before any memory is allocated, and anything else is a ``ChunkDecodeError``.
"""
