"""Take usage that arrived in the drop folder: validate it, attribute it to teams, store it once, quarantine the rest.

A run is keyed by its **window**. It takes every file that arrived (by modification time) before the window's end
and was not taken before, so that nothing is lost where a run was missed; after an outage one run catches up.
To take a month at once, trigger it with a wide window.

What could not be billed is in quarantine with its reason and raw text: `billing usage quarantine list`.
A file that cannot be read at all fails the run, which names it; mend or remove the file and clear the task.
"""

from __future__ import annotations

from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task

from wiring import COMMON, home_and_settings, instant_of, instant_param, run_instant


@dag(
    schedule=CronDataIntervalTimetable("*/10 * * * *", timezone="UTC"),
    doc_md=__doc__,
    params={
        "window_start": instant_param(
            "Window start", "From when on usage is complete with this run. Empty: the run's data interval."
        ),
        "window_end": instant_param(
            "Window end", "Files that arrived before this instant are taken. Empty: the run's data interval."
        ),
        "folder": Param(
            None,
            type=["null", "string"],
            title="Drop folder",
            description_md="Where usage files arrive. Empty: `BILLING_DROP_FOLDER`.",
        ),
    },
    **COMMON,
)
def usage_ingest() -> None:
    @task
    def ingest_usage_window() -> dict[str, object]:
        from datetime import timedelta
        from pathlib import Path

        from billing.steps.drop_folder import ingest_window

        context = get_current_context()
        params = context["params"]
        end = instant_of(params["window_end"]) or run_instant(context)
        start = instant_of(params["window_start"]) or context["dag_run"].data_interval_start or end
        with home_and_settings() as (home, settings):
            folder = Path(params["folder"]) if params["folder"] else settings.drop_folder
            done = ingest_window(home, folder, min(start, end - timedelta(minutes=10)), end)
        summary: dict[str, object] = {
            "window_start": str(done.window_start),
            "window_end": str(done.window_end),
            "files": done.files,
        }
        if done.ingested:
            taken = done.ingested
            summary |= {
                "batch": taken.batch_no,
                "accepted": taken.accepted,
                "duplicates": taken.duplicates,
                "quarantined": taken.quarantined,
            }
            summary |= {"reasons": dict(taken.reasons)}
        print(summary)
        return summary

    ingest_usage_window()


usage_ingest()
