"""Take usage that arrived at each source: validate it, attribute it to teams, store it once, quarantine the rest.

Sources (folders, object storage, databases) are named in the home's `billing.toml`; without any it is the drop folder.
A run is keyed by its **window**, by arrival at the source. It takes what arrived before the window's end and was not
taken before, so that nothing is lost where a run was missed; after an outage one run catches up. To take a month at
once, trigger it with a wide window.

What could not be billed is in quarantine with its reason and raw text: `billing usage quarantine list`, and the DAG
`quarantine_replay`. A file that cannot be read at all fails the task, which names it: have it sent again, or go on
without it by `billing usage set-aside`. Where usage is **not as expected** (volume, share of rejects, freshness, new
names) the task fails with what was expected and what was seen, and nothing is taken; look, and if it is right, trigger
the window again with the reason under *Accept anomaly*. What was checked is under *Checks* on the run's page.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task

from observed import count_batch, done_within, lineage
from wiring import COMMON, home_and_settings, instant_of, instant_param, run_instant, run_name

EVERY = timedelta(minutes=10)


@dag(
    schedule=CronDataIntervalTimetable("*/10 * * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(minutes=20)),
    params={
        "window_start": instant_param(
            "Window start", "From when on usage is complete with this run. Empty: the run's data interval."
        ),
        "window_end": instant_param(
            "Window end", "What arrived before this instant is taken. Empty: the run's data interval."
        ),
        "source": Param(
            None,
            type=["null", "string"],
            title="Source",
            description_md="Only this one. Empty: every source of `billing.toml`.",
        ),
        "accept_anomaly": Param(
            None,
            type=["null", "string"],
            title="Accept anomaly",
            description_md="Why usage that is not as expected is right. It is taken then, and your reason is logged.",
        ),
    },
    **COMMON,
)
def usage_ingest() -> None:
    @task
    def sources_to_take() -> list[str]:
        from billing.steps.sources import await_sources

        chosen = get_current_context()["params"]["source"]
        with home_and_settings() as (home, settings):
            names = await_sources(home, settings.sources)
            return [settings.source(chosen).name] if chosen else names

    @task(map_index_template="{{ task.op_kwargs['source'] }}")
    def ingest_usage_window(source: str) -> dict[str, object]:
        from time import monotonic

        from billing import connections
        from billing.steps.inspection import Inspection
        from billing.steps.sources import open_source
        from billing.steps.windows import take_window

        context, began = get_current_context(), monotonic()
        params = context["params"]
        end = instant_of(params["window_end"]) or run_instant(context)
        start = instant_of(params["window_start"]) or context["dag_run"].data_interval_start or end
        with home_and_settings() as (home, settings):
            opened = open_source(settings.source(source), connections)
            inspection = Inspection.of(
                settings.expectations, accept_anomaly=params["accept_anomaly"] or None, run=run_name(context)
            )
            done = take_window(home, opened, min(start, end - EVERY), end, inspector=inspection)
        for warning in inspection.warnings:
            print(f"not as expected, but taken: {warning}")
        lineage([opened.location, "reference"], ["usage", "quarantine"])
        summary: dict[str, object] = {
            "window_start": str(done.window_start),
            "window_end": str(done.window_end),
            "files": done.files,
        }
        if taken := done.ingested:
            counts = {"records": taken.records, "accepted": taken.accepted}
            count_batch(source, counts, taken.reasons, monotonic() - began)
            summary |= {"batch": taken.batch_no, **counts, "reasons": dict(taken.reasons)}
        print(summary)
        return summary

    ingest_usage_window.expand(source=sources_to_take())


usage_ingest()
