"""Take reference data (customers, teams, apps, prices, subscriptions) as what is known from now on.

One file a table, as the data contract says; the folder is `BILLING_REFERENCE_FOLDER` unless the form names
another. A load is taken whole or refused whole: a refusal lists every error with file, line and column in the
task's log, and changes nothing. A load that brings nothing new changes nothing either.

Rows that come too late for a closed cycle are taken and listed; what is closed stands.
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from wiring import COMMON, home_and_settings


@dag(
    schedule=CronTriggerTimetable("5 * * * *", timezone="UTC"),
    doc_md=__doc__,
    params={
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
            description_md="Rows that the folder lacks stop being known. Otherwise such a load is refused.",
        ),
    },
    **COMMON,
)
def reference_sync() -> None:
    @task
    def load_reference_data() -> dict[str, int]:
        from pathlib import Path

        from billing.steps.reference import load_reference

        params = get_current_context()["params"]
        with home_and_settings() as (home, settings):
            folder = Path(params["folder"]) if params["folder"] else settings.reference_folder
            done = load_reference(home, folder, allow_removals=params["allow_removals"])
        for line in (*map(str, done.warnings), *map(str, done.late)):
            print(line)
        return {
            "load": done.load_no,
            "added": done.added,
            "changed": done.changed,
            "removed": done.removed,
            "late": len(done.late),
        }

    load_reference_data()


reference_sync()
