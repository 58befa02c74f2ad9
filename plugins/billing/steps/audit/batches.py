"""Usage as it lies in the lake beside what the log says of each batch since it was committed (rule 7.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import select

from billing.steps.audit.comparing import Comparison, Key, compared
from billing.steps.digests import Digest, stored_digests
from billing.store.batches import COMMITTED, committed
from billing.store.home import Home
from billing.store.tables import batches, log

NOT_KEPT = "not kept"
"""Of a batch that an earlier version took: ``audit rerun --from-genesis`` proves it, nothing else does."""


def usage_beside_the_log(home: Home) -> list[Comparison]:
    """A comparison a committed batch: the digest in the log (stored), and that of its events as they are now.

    Reads all usage. A batch whose digest was not kept is left out; usage of one that the log does not know differs.
    """
    with home.database.read() as connection:
        through = committed(connection)
        done = connection.execute(select(batches.c.batch_no).where(batches.c.state == COMMITTED)).scalars().all()
        said = _said(connection.execute(select(log.c.payload).where(log.c.kind == "batch")).scalars())
    now = stored_digests(home.usage, through)
    known = [number for number in done if said.get(number) != NOT_KEPT]
    stored: dict[Key, list[object]] = {("", None, number): [said[number]] for number in known if number in said}
    there: dict[Key, list[object]] = {("", None, number): [str(now.get(number, Digest()))] for number in known}
    return list(compared("batch", ("usage",), stored, there))


def _said(payloads: Iterable[str]) -> dict[int, str]:
    """By batch, its digest as the log keeps it."""
    rows = [json.loads(payload) for payload in payloads]
    return {row["batch_no"]: row.get("digest", NOT_KEPT) for row in rows}
