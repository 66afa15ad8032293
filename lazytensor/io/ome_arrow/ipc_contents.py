"""What is in an IPC file or stream, found without reading a body.

A file ends with a list of its messages. Of a stream every message says how long its body is, and
behind that is the next one. Over a network all messages of a file are asked for together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.arrow_files import arrow_errors
from lazytensor.io.ome_arrow.ipc_messages import (
    BATCH,
    DICTIONARY,
    SCHEMA,
    Batch,
    Block,
    Message,
    batch_of,
    blocks_of,
    is_footer_little_endian,
    is_little_endian,
    message_at,
)
from lazytensor.io.ome_arrow.nested import check_names
from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored
from lazytensor.plan.counters import count

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAGIC", "Contents", "contents_of"]

MAGIC = b"ARROW1"
_TAIL = len(MAGIC) + 4
_PREFIX = 8


@dataclass
class Contents:
    """What is in a file.

    ``schema_block``: where the schema of a stream is. ``plain``: whether numbers are in the byte
    order that is looked at in place. ``blocks``: where the batches are. ``dictionaries``: where
    they are, and how many batches before them.
    """

    schema: pa.Schema
    schema_block: Block
    plain: bool
    batches: list[Batch] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    dictionaries: list[tuple[int, Block]] = field(default_factory=list)

    def add(self, message: Message) -> None:
        """A record batch."""
        self.batches.append(batch_of(message))
        self.blocks.append(message.block)


def contents_of(whole: StoredObject, stored: Stored, *, stream: bool, counted: bool) -> Contents:
    """What is in a file, or a stream. Raises ``FormatError`` if it is none, or damaged.

    ``counted``: whether bytes are taken from a file, rather than looked at in memory.
    """
    reader = _Reader(whole, counted)
    with arrow_errors(stored.name):
        if stream:
            found = reader.schema(0)
            _walk(reader, found)
        else:
            footer = _footer(reader)
            found = _listed(footer)
            batches, dictionaries = blocks_of(footer, whole.size)
            messages = [(block.offset, block.start) for block in batches]
            stored.store.prefetch([(whole, messages)])
            found.dictionaries = [(0, block) for block in dictionaries]
            for block in batches:
                message = reader.message(block.offset, block.metadata)
                if message is None or message.kind != BATCH:
                    raise FormatError(f"expected a record batch at byte {block.offset}")
                found.add(message)
    check_names(found.schema, stored.name)
    return found


class _Reader:
    """Messages of an open file."""

    def __init__(self, whole: StoredObject, counted: bool) -> None:
        self._whole, self._counted = whole, counted
        self.size = whole.size

    def read(self, start: int, nbytes: int) -> bytes:
        """Bytes, or less where the file ends."""
        nbytes = min(nbytes, max(self.size - start, 0))
        if not nbytes:
            return b""
        if self._counted:
            count("bytes_read", nbytes)
        return bytes(self._whole.read(start, nbytes))

    def message(self, offset: int, ahead: int | None = None) -> Message | None:
        """The message at a byte; ``ahead``: how long it is, if that is known."""
        return message_at(self.read, offset, self.size, ahead)

    def schema(self, offset: int) -> Contents:
        """The schema, with which everything begins."""
        import pyarrow as pa

        first = self.message(offset)
        if first is None or first.kind != SCHEMA:
            raise FormatError(f"expected a schema at byte {offset}")
        data = self.read(first.block.offset, first.block.metadata)
        schema = pa.ipc.read_schema(pa.py_buffer(data))
        return Contents(schema, first.block, is_little_endian(first))


def _footer(reader: _Reader) -> bytes:
    size = reader.size
    tail = reader.read(max(size - _TAIL, 0), _TAIL)
    nbytes = int.from_bytes(tail[:4], "little", signed=True)
    if tail[4:] != MAGIC or not 0 < nbytes <= size - _TAIL - _PREFIX:
        raise FormatError(
            f"the file ends with {tail!r}, not with the length of a footer and {MAGIC!r}: it is "
            f"damaged, or was cut off"
        )
    return reader.read(size - _TAIL - nbytes, nbytes)


def _listed(footer: bytes) -> Contents:
    """The schema in a footer; not all writers put one in front as well.

    Arrow takes it for that of a file with nothing else in it.
    """
    import pyarrow as pa

    start = MAGIC.ljust(_PREFIX, b"\0")
    whole = start + footer + len(footer).to_bytes(4, "little") + MAGIC
    with pa.ipc.open_file(pa.py_buffer(whole)) as reader:
        schema = reader.schema
    return Contents(schema, Block(0, 0, 0), is_footer_little_endian(footer))


def _walk(reader: _Reader, found: Contents) -> None:
    offset = found.schema_block.stop
    while (message := reader.message(offset)) is not None:
        if message.kind == DICTIONARY:
            found.dictionaries.append((len(found.batches), message.block))
        elif message.kind == BATCH:
            found.add(message)
        else:
            raise FormatError(f"a message of kind {message.kind} among record batches")
        offset = message.block.stop
