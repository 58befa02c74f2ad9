"""Keep the usage table quick: put the small files of each day together, and delete old ones.

Every ten minutes `usage_ingest` appends a few small files. Thousands of them are slow to read and to append to. This
run puts those of a month and shard together, sums up the table's log, and deletes the files that were put together a
week ago. No number changes by it; ingests, closes and reports go on meanwhile, and a run that was missed or killed is
made up by the next. By hand: `billing usage compact`.

*Keep days* is for how long a reader may take that began before: what it reads from is kept so long.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from observed import done_within, gauge
from wiring import COMMON, home_and_settings


@dag(
    schedule=CronTriggerTimetable("40 3 * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(hours=3)),
    params={
        "keep_days": Param(
            7,
            type="integer",
            minimum=0,
            maximum=7,
            title="Keep days",
            description_md="How long files are kept that nothing new is read from. 0: only where nothing else runs.",
        ),
    },
    **COMMON,
)
def lake_upkeep() -> None:
    @task
    def compact_usage() -> dict[str, object]:
        from billing.steps.upkeep import upkeep

        with home_and_settings() as (home, _):
            done = upkeep(home, get_current_context()["params"]["keep_days"])
        gauge("lake.files", done.files_after)
        counts = ("files_before", "files_after", "bytes_before", "bytes_after", "deleted")
        return {name: getattr(done, name) for name in counts} | {"seconds": round(done.seconds, 1)}

    compact_usage()


lake_upkeep()
