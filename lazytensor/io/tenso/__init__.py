"""tenso packets: reading and writing them, at once or lazily (``lt.io.tenso``)."""

from lazytensor.io.tenso.api import dump, dumps, is_aligned, iter_dumps, load, loads, packet_info
from lazytensor.io.tenso.shared import Shared, attach, share
from lazytensor.io.tenso.streams import (
    aread_stream,
    awrite_stream,
    iter_packets,
    read_stream,
    write_stream,
)
from lazytensor.io.tenso.strings import StringTensor

__all__ = [
    "Shared", "StringTensor", "aread_stream", "attach", "awrite_stream", "dump", "dumps",
    "is_aligned", "iter_dumps", "iter_packets", "load", "loads", "packet_info", "read_stream",
    "share", "write_stream",
]  # fmt: skip
