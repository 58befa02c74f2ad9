"""Take reference data (customers, teams, apps, prices, subscriptions) as what is known from now on.

One file or one query a table, as the data contract says: from the database that `[reference]` in the home's
`billing.toml` names, else from the folder `BILLING_REFERENCE_FOLDER`. A load is taken whole or refused whole: a refusal
lists every error with file or query, line and column in the task's log, and changes nothing. A load that brings nothing
new changes nothing either. To look before it is taken: `billing reference diff`.

The task's log says what differs, table by table. Rows that come too late for a closed cycle are taken and listed with
what they would have changed; what is closed stands. They can be asked for later: `billing reference late`.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from observed import lineage
from wiring import COMMON, home_and_settings


@dag(
    schedule=CronTriggerTimetable("5 * * * *", timezone="UTC"),
    doc_md=__doc__,
    params={
        "source": Param(
            None,
            type=["null", "string"],
            enum=[None, "folder", "sql"],
            title="Source",
            description_md="`folder` or `sql`. Empty: the folder if one is named, else as `billing.toml` says.",
        ),
        "folder": Param(
            None,
            type=["null", "string"],
            title="Folder",
            description_md="Where the reference files are. Empty: `BILLING_REFERENCE_FOLDER`.",
        ),
        "allow_removals": Param(
            False,
            type="boolean",
            title="Allow removals",
            description_md="Rows that are no longer there stop being known. Otherwise such a load is refused.",
        ),
    },
    **COMMON,
)
def reference_sync() -> None:
    @task
    def load_reference_data() -> dict[str, int]:
        params = get_current_context()["params"]
        with home_and_settings() as (home, settings):
            done = _load(home, settings, params)
        lineage([done.source], ["reference"])
        for line in (*done.warnings, *done.tables, *(f"late: {row}" for row in done.late[:100])):
            print(line)
        if done.late:
            print(f"{done.late_total} late rows: billing reference late --load {done.load_no}")
        return {
            "load": done.load_no,
            "added": done.added,
            "changed": done.changed,
            "removed": done.removed,
            "late": done.late_total,
        }

    load_reference_data()


def _load(home: Any, settings: Any, params: Any) -> Any:
    from pathlib import Path

    from billing.connections import sql_url
    from billing.core.errors import UsageError
    from billing.steps.reference import load_reference, load_reference_sql

    sql, allowed = settings.reference, params["allow_removals"]
    if (params["source"] or ("folder" if params["folder"] or sql is None else "sql")) == "folder":
        folder = Path(params["folder"]) if params["folder"] else settings.reference_folder
        return load_reference(home, folder, allow_removals=allowed)
    if sql is None:
        raise UsageError(f"{settings.home / 'billing.toml'} has no [reference]: give it a connection or a url there.")
    return load_reference_sql(home, sql.url or sql_url(sql.connection), sql.queries, allow_removals=allowed)


reference_sync()
