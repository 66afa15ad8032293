"""What the command line says of a file of several arrays, and how one of them is chosen.

``info`` of a single array lists what is known of it. Of a table of images, or a bundle of packets,
it lists what there is to choose from, as far as metadata says it, and the first few in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from lazytensor.plan.garbage import importing

if TYPE_CHECKING:
    import argparse

    from lazytensor.scanning_ome_arrow import OmeArrowTable
    from lazytensor.scanning_tenso import TensoFile
    from lazytensor.tensor import LazyTensor

__all__ = ["add_choices", "chosen", "listing"]

_CHOICES = ("row", "column", "image_id")
_SHOWN = 10


def add_choices(command: argparse.ArgumentParser) -> None:
    """Flags that choose an image of an OME-Arrow table or dataset."""
    command.add_argument("--column", metavar="NAME", help="of an OME-Arrow table: column of images")
    one = command.add_mutually_exclusive_group()
    one.add_argument("--row", metavar="N", type=int, help="of an OME-Arrow table: which image")
    one.add_argument("--image-id", metavar="ID", help="of an OME-Arrow table: image with this id")


def chosen(arguments: argparse.Namespace) -> LazyTensor:
    """The array at a place, or the image that flags choose there."""
    import lazytensor as lt

    values = {name: getattr(arguments, name) for name in _CHOICES}
    options = {name: value for name, value in values.items() if value is not None}
    scan = lt.scan_ome_arrow if options else lt.scan
    return scan(arguments.uri, **options)


def listing(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """What there is at a place with several arrays, as JSON; None: something else is there, or one
    is chosen."""
    import lazytensor as lt

    with importing():
        from lazytensor.io.ome_arrow.sniff import holds_dataset, is_ome_arrow
        from lazytensor.io.tenso.sniff import is_tenso

    uri = arguments.uri
    if any(getattr(arguments, name) is not None for name in _CHOICES):
        return None
    if is_tenso(uri):
        return {"uri": uri} | _of_packets(lt.open_tenso(uri))
    if is_ome_arrow(uri) or holds_dataset(uri, None):
        return {"uri": uri} | _of_table(lt.open_ome_arrow(uri))
    return None


def _of_table(table: OmeArrowTable) -> dict[str, Any]:
    names = table.frame.collect_schema().names()
    images = len(table) * len(table.columns)
    return {
        "format": "ome-arrow",
        "rows": len(table),
        "image_columns": list(table.columns),
        "other_columns": names,
        "images": list(islice(_images(table), _SHOWN)),
        "more": max(images - _SHOWN, 0),
    }


def _images(table: OmeArrowTable) -> Iterator[dict[str, Any]]:
    metas = {name: table._table.metas(name) for name in table.columns}
    for row in range(len(table)):
        for name in table.columns:
            meta = metas[name][row]
            found: dict[str, Any] = {"row": row, "column": name, "id": None}
            if meta is None:
                yield found | {"shape": None, "dtype": None}
                continue
            found["id"] = meta.attrs.get("id")
            yield found | {"shape": list(meta.shape), "dtype": meta.dtype.name}


def _of_packets(packets: TensoFile) -> dict[str, Any]:
    keys = list(packets)
    return {
        "format": "tenso",
        "arrays": [{"key": key} | _header(packets, key) for key in keys[:_SHOWN]],
        "more": max(len(keys) - _SHOWN, 0),
    }


def _header(packets: TensoFile, key: str) -> dict[str, Any]:
    facts = packets.info(key)
    return {"shape": list(facts["shape"]), "dtype": str(facts["dtype"])}
