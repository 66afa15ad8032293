"""Which encoder writes the objects of an array, made of its metadata.

So what others began is continued in their way. The lists of codecs are gone through as in
``codecs_v2`` and ``codecs_v3``, whose layouts tell how values lie in a chunk; an encoder is added
for each codec, those among them that decoding passes over (it cannot bring lost digits back).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.encode import EncodeChain, Encoder
from lazytensor.io.codec.encode_table import encoder, text_writer
from lazytensor.io.codec.encode_values import ReorderEncoder, TransposeEncoder
from lazytensor.io.codec.filters import TransposeCodec, ValueCodec
from lazytensor.io.codec.pipeline import ChunkDecoder
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.table import array_codec, byte_codec, codec_kind, filter_v2, number_codec
from lazytensor.io.zarr.codecs_v2 import encoding_steps
from lazytensor.io.zarr.document import Fields, extension
from lazytensor.io.zarr.dtypes import parse_dtype_v2, parse_dtype_v3, stored_dtype
from lazytensor.io.zarr.encode_chunk import ChunkEncoder, ObjectEncoder, TextEncoder
from lazytensor.io.zarr.encode_shard import ShardEncoder
from lazytensor.io.zarr.fill_values import parse_fill_value
from lazytensor.io.zarr.layout import Layout, PlainLayout
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.shard import ShardLayout

__all__ = ["object_encoder"]


def object_encoder(
    meta: ArrayMetadata, layout: Layout | None = None, *, write_empty: bool = False
) -> ObjectEncoder:
    """The encoder of the stored objects of an array.

    ``layout``: of objects of another shape than most, where the grid has any. ``write_empty``:
    inner chunks of shards are stored though they hold nothing but the fill value. ``FormatError``
    for encodings that can only be read, and for settings that no encoder has.

    >>> from lazytensor.io.zarr.metadata import parse_array_v2
    >>> document = {"zarr_format": 2, "shape": [3], "chunks": [2], "dtype": ">u2",
    ...             "compressor": None, "filters": None, "fill_value": 7, "order": "C"}
    >>> encoder = object_encoder(parse_array_v2(document, {}, ".zarray"))
    >>> b"".join(encoder.encode(np.array([1], "u2"))), encoder.is_empty(np.array([7], "u2"))
    (b'\\x00\\x01\\x00\\x07', True)
    """
    layout = meta.layout if layout is None else layout
    if meta.zarr_format == 2:
        return _encoder_v2(meta, cast("PlainLayout", layout).decoder)
    if meta.zarr_format == 3:
        steps = _Steps(meta.dtype, write_empty=write_empty)
        return _encoder_v3(list(meta.codecs), layout, meta.fill_value, "zarr.json: codecs", steps)
    raise FormatError(f"arrays of {meta.format} can be read and not written; write zarr instead")


def _encoder_v2(meta: ArrayMetadata, decoder: ChunkDecoder) -> ObjectEncoder:
    fields = Fields(meta.document, ".zarray")
    steps = encoding_steps(fields)
    where = ".zarray: filters and compressor"
    dtype: np.dtype | None = None
    write = None
    if decoder.dtype.kind == "T":
        write = text_writer(steps[0].text("id"), _site_v2(steps[0], None))
        del steps[0]
    else:
        dtype = parse_dtype_v2(fields.get("dtype"), fields.at("dtype"))
    encoders: list[Encoder | None] = []
    for step in steps:
        name, site = step.text("id"), _site_v2(step, dtype)
        codec = filter_v2(name, site)
        encoders.append(encoder(name, site, codec))
        if codec is not None:
            dtype = codec.stored if isinstance(codec, ValueCodec) else np.dtype(np.uint8)
    nbytes = 0 if write else decoder.nbytes
    chain = EncodeChain([step for step in encoders if step], nbytes, where)
    if write:
        return TextEncoder(decoder, write, chain, meta.fill_value)
    return ChunkEncoder(decoder, decoder.stored, chain, meta.fill_value)


def _site_v2(step: Fields, dtype: np.dtype | None) -> Site:
    return Site(step.document, step.where, dtype, zarr_format=2)


class _Steps:
    """Encoders of values, in order. ``dtype``: of what they make.

    ``ordered``: a transpose can no longer be a view of the chunk's values (``codecs_v3``).
    """

    def __init__(self, dtype: np.dtype, *, write_empty: bool) -> None:
        self.dtype = dtype
        self.write_empty = write_empty
        self.encoders: list[Encoder] = []
        self.ordered = False

    def site(self, settings: Fields) -> Site:
        """Where the next codec stands."""
        return Site(
            settings.document,
            settings.where,
            self.dtype,
            parse_type=parse_dtype_v3,
            parse_scalar=partial(parse_fill_value, zarr_format=3),
        )

    def add(self, name: str, settings: Fields, codec: ByteCodec | None) -> None:
        """Add a codec of values."""
        step = encoder(name, self.site(settings), codec)
        if step is not None:
            self.encoders.append(step)
        if isinstance(codec, ValueCodec):
            self.ordered |= codec.ordered
            self.dtype = codec.stored
        elif codec is not None:  # booleans that become bytes
            self.ordered = True
            self.dtype = np.dtype(np.uint8)

    def transpose(self, codec: TransposeCodec) -> None:
        """Add one that is a step of its own."""
        self.encoders.append(TransposeEncoder(codec, self.dtype.itemsize))


class _Serializer(NamedTuple):
    name: str
    settings: Fields


def _encoder_v3(
    codecs: list[Any], layout: Layout, fill: np.ndarray, where: str, steps: _Steps
) -> ObjectEncoder:
    """The encoder for a list of codecs that ``build_layout`` has made ``layout`` of."""
    turns = _turns(layout)
    serializer: _Serializer | None = None
    packing: list[Encoder] = []
    values = _dtype_of(layout)
    for i, value in enumerate(codecs):
        name, settings, skippable = extension(value, f"{where}[{i}]")
        site = Site(settings.document, settings.where, values)
        if skippable and not _is_known(name, site):
            continue
        kind = codec_kind(name, site)
        if name == "transpose":
            if steps.ordered:
                steps.transpose(turns.pop(0))
        elif name == "reshape":
            steps.ordered = True
        elif kind == "array -> array":
            steps.add(name, settings, array_codec(name, steps.site(settings)))
        elif kind == "array -> bytes":
            serializer = _Serializer(name, settings)
        else:
            codec = byte_codec(name, settings.document, settings.where, zarr_format=3, dtype=values)
            step = encoder(name, site, codec)
            packing += [] if step is None else [step]
    assert serializer is not None
    if isinstance(layout, ShardLayout):
        chain = EncodeChain(packing, 0, where)
        settings = serializer.settings
        inner = _encoder_v3(
            settings.items("codecs"), layout.inner, layout.fill, settings.at("codecs"), steps
        )
        return ShardEncoder(layout, inner, chain, fill, write_empty=steps.write_empty)
    return _chunk_encoder(
        cast("PlainLayout", layout).decoder, fill, where, steps, serializer, packing
    )


def _turns(layout: Layout) -> list[TransposeCodec]:
    """The transposes that are steps of their own, in the order of encoding."""
    if not isinstance(layout, PlainLayout):
        return []
    chain = reversed(layout.decoder.chain.codecs)
    return [codec for codec in chain if isinstance(codec, TransposeCodec)]


def _dtype_of(layout: Layout) -> np.dtype:
    if isinstance(layout, ShardLayout):
        return layout.fill.dtype
    return cast("PlainLayout", layout).decoder.dtype


def _is_known(name: str, site: Site) -> bool:
    try:
        codec_kind(name, site)
    except FormatError:
        return False
    return True


def _chunk_encoder(
    decoder: ChunkDecoder,
    fill: np.ndarray,
    where: str,
    steps: _Steps,
    serializer: _Serializer,
    packing: list[Encoder],
) -> ObjectEncoder:
    name, settings = serializer
    site = steps.site(settings)
    if decoder.dtype.kind == "T":
        return TextEncoder(decoder, text_writer(name, site), EncodeChain(packing, 0, where), fill)
    stored = steps.dtype
    if name == "bytes":
        big = settings.document.get("endian") == "big"
        stored = stored_dtype(steps.dtype, ">" if big else "<")
    elif name == "packbits":
        stored = stored_dtype(steps.dtype, "<")
    start, encoders = stored, list(steps.encoders)
    if encoders:
        start = decoder.dtype
        if stored is not steps.dtype:
            encoders.append(ReorderEncoder(steps.dtype, stored))
    if name != "bytes":
        number = encoder(name, site, number_codec(name, site))
        encoders += [] if number is None else [number]
    chain = EncodeChain([*encoders, *packing], decoder.nbytes, where)
    return ChunkEncoder(decoder, start, chain, fill)
