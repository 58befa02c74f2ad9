"""What is asked for in addresses of pages and of the JSON alike: ids, texts, keys of pages, and the instant of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

from fastapi import Depends, Query

from billing.web.clock import now

_NO_NUL = r"^[^\x00]*$"
Id: TypeAlias = Annotated[str, Query(min_length=1, pattern=_NO_NUL)]
Text: TypeAlias = Annotated[str, Query(max_length=200, pattern=_NO_NUL)]
Key: TypeAlias = Annotated[
    str, Query(max_length=8_000, pattern=r"^[A-Za-z0-9_-]*$", description="next_key of the page before")
]
Currency: TypeAlias = Annotated[
    str, Query(pattern=r"^([A-Z]{3})?$", description="an ISO 4217 code; blank: all", examples=["EUR"])
]
Now: TypeAlias = Annotated[datetime, Depends(now)]
