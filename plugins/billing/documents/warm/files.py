"""The file written without doing a thing twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import methodcaller
from typing import Any

_ascii = methodcaller("encode", "ascii")


@cache
def install() -> None:
    """Make pydyf deflate its stream of objects once: it asks for it twice, for the file and for its identifier. And
    write texts and whole numbers, nine of ten items, without asking what else they might be.
    """
    import pydyf  # type: ignore[import-untyped]

    stock = pydyf._to_bytes
    as_bytes: dict[type, Callable[[Any], bytes]] = {bytes: bytes, str: _ascii, int: b"%d".__mod__}

    def to_bytes(item: Any) -> Any:
        return as_bytes.get(type(item), stock)(item)

    stock_data = pydyf.Stream.data.fget

    def data(stream: Any) -> bytes:
        if stream.extra.get("Type") != "/ObjStm":
            return bytes(stock_data(stream))
        if "written" not in stream.__dict__:
            stream.written = stock_data(stream)
        return bytes(stream.written)

    pydyf._to_bytes = to_bytes
    pydyf.Stream.data = property(data)
