"""What the DAGs tell the outside: metrics by Airflow's stats, lineage by OpenLineage, deadlines that were missed.

Metrics (counters unless said otherwise; the tag ``source`` where the backend knows tags):

=================================  ==================================================================
billing.usage.records              records read
billing.usage.accepted             of these, accepted
billing.usage.rejected.REASON      of these, rejected, by reason (``duplicate`` is one of them)
billing.usage.replayed             records of quarantine that were judged again
billing.usage.ingest               a timer: milliseconds from the source to the committed batch
billing.cycles.closed              cycles closed
billing.cycles.parked              a gauge: teams parked now
billing.cycles.waiting             a gauge: cycles that are over and wait for usage
billing.open.teams                 a gauge: teams with cycles that are not closed
billing.open.teams_rated           a gauge: of these, rated again by the last run
billing.standings.looked_at        a gauge: teams that the last run looked at
billing.standings.written          a gauge: of these, those that stand otherwise than before
billing.alerts.raised              alerts raised
billing.alerts.mails               mails about alerts written into the outbox
billing.invoices.issued            invoices issued
billing.documents.rendered         documents rendered
billing.audit.compared             values of closed cycles compared with those of a rerun
billing.audit.different            of these, different in substance
billing.lake.files                 a gauge: data files of the usage table
=================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback  # type: ignore[attr-defined]
from airflow.sdk.observability import stats

NAMESPACE = "carryover"
"""OpenLineage's namespace of what a home keeps: ``reference``, ``usage``, ``quarantine``, ``ledger``, ``invoices``."""


def count(name: str, number: int, **tags: str) -> None:
    """Add to a counter."""
    stats.incr(f"billing.{name}", number, tags=tags)


def gauge(name: str, value: int) -> None:
    """Say how many there are now."""
    stats.gauge(f"billing.{name}", value)


def count_batch(source: str, counts: Mapping[str, int], reasons: Mapping[str, int], seconds: float) -> None:
    """What a batch brought: ``counts`` of records and accepted, rejected ones by reason, and how long it took."""
    for name, number in counts.items():
        count(f"usage.{name}", number, source=source)
    for reason, number in reasons.items():
        count(f"usage.rejected.{reason}", number, source=source)
    stats.timing("billing.usage.ingest", timedelta(seconds=seconds), tags={"source": source})


def lineage(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Say what the running task read and wrote: names of what the home keeps, or locations outside (paths, URLs).

    Nothing happens where OpenLineage is not configured; a failure to say it fails no task.
    """
    from airflow.providers.openlineage.api import emit_dataset_lineage, is_openlineage_active
    from openlineage.client.event_v2 import Dataset

    if is_openlineage_active():
        read, written = ([Dataset(*_dataset(name)) for name in names] for names in (inputs, outputs))
        emit_dataset_lineage(inputs=read, outputs=written)


def _dataset(name: str) -> tuple[str, str]:
    """Namespace and name by OpenLineage's conventions: ``s3://bucket`` and the path below it, ``file`` and a path."""
    parts = urlsplit(name)
    if parts.scheme and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/") or "/"
    return ("file", name) if name.startswith("/") else (NAMESPACE, name)


def done_within(limit: timedelta) -> DeadlineAlert:
    """A run that has not ended so long after it was queued is said to be overdue."""
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=limit,
        callback=SyncCallback(overdue, kwargs={"limit_minutes": int(limit.total_seconds() // 60)}),
    )


def overdue(limit_minutes: int, context: Mapping[str, Any]) -> None:
    """Note in the home that a run is overdue, where `billing status` shows it; Airflow counts it as
    ``deadline_alerts.deadline_missed``.
    """
    from billing.steps.overdue import note_overdue
    from wiring import home_and_settings

    run = context.get("dag_run") or {}
    with home_and_settings() as (home, _):
        note_overdue(home, str(run.get("dag_id")), str(run.get("run_id") or run.get("dag_run_id")), limit_minutes)
