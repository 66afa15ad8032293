"""The ``filters`` and the ``compressor`` of zarr v2 metadata to the decoder of a chunk.

They are one chain, applied to a flat run of bytes from the first filter to the compressor. A filter
looks at those bytes as the dtype in its own settings, whatever the dtype of the array.
"""

from __future__ import annotations

import numpy as np

from lazytensor.errors import ChunkDecodeError, FormatError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.filters import ValueCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.table import filter_v2, text_reader
from lazytensor.io.zarr.document import Fields
from lazytensor.io.zarr.dtypes import native_dtype, stored_dtype

__all__ = ["build_decoder", "encoding_steps"]


def encoding_steps(fields: Fields) -> list[Fields]:
    """Filters and compressor in the order of encoding."""
    steps = fields.objects("filters", optional=True)
    if fields.document.get("compressor") is not None:
        steps.append(fields.fields("compressor"))
    return steps


def build_decoder(
    fields: Fields, shape: tuple[int, ...], described: np.dtype, axes: tuple[int, ...]
) -> ChunkDecoder:
    """The decoder of chunks of ``shape``.

    ``described``: the dtype in the metadata. ``axes``: the order in which they were stored. Raises
    ``FormatError`` naming the filter.
    """
    steps = encoding_steps(fields)
    if described.kind == "T":
        reader = text_reader(steps[0].text("id"), _site(steps[0], None))
        from lazytensor.io.codec.text import TextDecoder

        return TextDecoder(shape, axes, ByteChain(_chain(steps[1:], None)), reader)
    stored = stored_dtype(described)
    dtype = native_dtype(described)
    chain = ByteChain(_chain(steps, described))
    decoder = ChunkDecoder(shape, dtype, dtype if stored == dtype else stored, axes, chain)
    try:
        chain.sizes(decoder.nbytes)
    except ChunkDecodeError as error:
        raise FormatError(f"{fields.at('filters')}: {error}") from error
    return decoder


def _site(step: Fields, dtype: np.dtype | None) -> Site:
    return Site(step.document, step.where, dtype, zarr_format=2)


def _chain(steps: list[Fields], dtype: np.dtype | None) -> tuple[ByteCodec, ...]:
    """The codecs in the order of decoding; ``dtype``: of the values that the first encodes."""
    chain: list[ByteCodec] = []
    for step in steps:
        codec = filter_v2(step.text("id"), _site(step, dtype))
        if codec is None:
            continue
        chain.append(codec)
        dtype = codec.stored if isinstance(codec, ValueCodec) else np.dtype(np.uint8)
    return tuple(reversed(chain))
