"""Codecs of zarr: from stored bytes to decoded bytes, each checked before and after.

The decoders themselves come from numcodecs, zstandard, lz4, isal and the standard library; what is
ours is the guard around them. A decoder is told how many bytes must come out, looks for that number
in the header before any memory is allocated, and anything else is a ``ChunkDecodeError``.

Codecs of values are byte decoders too (``filters``, ``rescale``, ``packbits``): of values in the
order in which they are stored, and of a known size. So a chain of any of them (``pipeline``) can
end in the destination. ``table`` maps names to decoders.
"""
