"""The one table in a store: a folder, zip file or dict of which no file is named."""

from __future__ import annotations

from lazytensor.errors import FormatError, SourceNotFoundError
from lazytensor.io.store import Store

__all__ = ["SUFFIXES", "only_table"]

SUFFIXES = (
    ".parquet", ".pq", ".parq", ".arrow", ".arrows", ".feather", ".ipc", ".vortex", ".ome-arrow",
)  # fmt: skip
"""How names of tables end."""

_SHOWN = 20


def only_table(store: Store) -> str:
    """The key of the only file, or of the only one among a few that is called as tables are.

    Raises ``SourceNotFoundError`` when there is nothing, ``FormatError`` listing what there is.

    >>> from lazytensor.io.store_open import make_store
    >>> only_table(make_store({"a.parquet": b"", "readme.txt": b""}, None))
    'a.parquet'
    """
    keys: list[str] = []
    for key, _ in store.walk(""):
        keys.append(key)
        if len(keys) > _SHOWN:
            break
    tables = [key for key in keys if key.lower().endswith(SUFFIXES)]
    for found in (keys, tables):
        if len(found) == 1:
            return found[0]
    if not keys:
        raise SourceNotFoundError(f"{store.name}: expected a dataset or a table, found nothing")
    shown = ", ".join(map(repr, sorted(keys)[:_SHOWN])) + ", ..." * (len(keys) > _SHOWN)
    raise FormatError(
        f"{store.name}: expected a dataset ('images.parquet') or one table, found {shown}; name "
        f"one of them: (store, key)"
    )
