"""Columns on their way to the server: arrays of one dimension, encoded as a whole.

The driver looks at every element of an array to find out whether it is an array again. For a batch of messages that
is half of all this process does, so sessions that write batches encode their columns here instead. Where a version of
the driver has no door for that, they are encoded by the driver as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error, pack
from typing import Any

_HEADER = Struct(">iiIii")
_EMPTY = Struct(">iiI")
_LENGTH = Struct(">i")
_NULL = _LENGTH.pack(-1)

Encoder = Callable[[Sequence[Any]], bytes]


def integers(element_oid: int, code: str) -> Encoder:
    """`code` is the integer's in the words of `struct`."""
    whole = Struct(f">i{code}")
    size = whole.size - _LENGTH.size
    item = f"i{code}"

    def encode(column: Sequence[int | None]) -> bytes:
        count = len(column)
        if not count:
            return _EMPTY.pack(0, 0, element_oid)
        spread: list[Any] = [size] * (2 * count)
        spread[1::2] = column
        try:
            return _HEADER.pack(1, 0, element_oid, count, 1) + pack(">" + item * count, *spread)
        except error:
            if None not in column:
                raise
        values = [_NULL if value is None else whole.pack(size, value) for value in column]
        return b"".join([_HEADER.pack(1, 1, element_oid, count, 1), *values])

    return encode


def strings(element_oid: int, encoded: Callable[[Any], bytes] | None) -> Encoder:
    """`encoded` makes bytes of an element, where it is none already."""
    length = _LENGTH.pack

    def encode(column: Sequence[Any]) -> bytes:
        count, nulls = len(column), column.count(None)
        if not count:
            return _EMPTY.pack(0, 0, element_oid)
        header = _HEADER.pack(1, nulls > 0, element_oid, count, 1)
        if nulls == count:
            return header + _NULL * count
        if nulls:
            given = [value for value in column if value is not None]
            values = iter([length(len(data)) + data for data in (map(encoded, given) if encoded else given)])
            return b"".join([header, *[_NULL if value is None else next(values) for value in column]])
        data = list(map(encoded, column)) if encoded else column
        pieces = [header] * (2 * count + 1)
        pieces[1::2] = map(length, map(len, data))
        pieces[2::2] = data
        return b"".join(pieces)

    return encode


ENCODERS: dict[tuple[int, str], Encoder] = {
    (1005, "_int2"): integers(21, "h"),
    (1007, "_int4"): integers(23, "i"),
    (1016, "_int8"): integers(20, "q"),
    (1009, "_text"): strings(25, str.encode),
    (1001, "_bytea"): strings(17, None),
}
"""By the array type's number and name, which are the same in every PostgreSQL."""


def encode_columns(connection: Any) -> None:
    """Lets this connection encode its array parameters here. It can't read arrays any more."""
    settings: Any = connection.get_settings()
    add = getattr(settings, "add_python_codec", None)
    if add is None:
        return
    for (oid, name), encoder in ENCODERS.items():
        add(oid, name, "pg_catalog", [], "scalar", encoder, _unreadable, "binary")


def _unreadable(data: bytes) -> object:
    raise TypeError("a session that writes batches reads no arrays")
