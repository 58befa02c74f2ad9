"""Rate closed cycles again from what their close had pinned, and compare every figure and document with what is kept.

Run it from its form: it has no schedule. Say which cycles in one way: an invoice or a team (and the start of one of its
cycles), those that ended from one instant on and before another, or all.

* `choose_cycles` looks up the cycles and shares them out by the shards of their teams.
* `compare_again` rates a shard's cycles anew, drafts their invoices, makes their documents, and compares.
* `leave_report` puts the comparisons together. In the home, below `audit/` and the run's id, it leaves `report.html`
  (on the run's page, under *Checks*) and `comparisons.csv`.

Green: all is equal, or nothing but the renderer differs, which the report shows. Red: something differs in substance.
The same as `billing audit rerun`; **As known now** asks instead what today's knowledge would change.

Nothing is charged, issued, mailed or changed by it, and nothing waits for it: it has no outlets, and it writes below
`audit/` only. That is why it has no deadline either: a missed one would be noted in the books.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from observed import count, lineage
from wiring import COMMON, home_and_settings, instant_of, instant_param, run_instant


def _asked() -> Any:
    """What the form says. Refused unless cycles are chosen in exactly one way."""
    from billing.steps.audit.choosing import Choice
    from billing.steps.audit.page import Asked

    context = get_current_context()
    form = context["params"]
    start, since, before = (instant_of(form[name]) for name in ("cycle_start", "from", "to"))
    return Asked(
        choice=Choice.asked((form["what"] or "").strip(), start, since, before, form["everything"]),
        documents=form["documents"] and not form["as_known_now"],
        from_genesis=form["from_genesis"],
        as_known_now=form["as_known_now"],
        by=getattr(context["dag_run"], "triggering_user_name", None) or "",
        at=run_instant(context),
    )


@dag(
    schedule=None,
    doc_md=__doc__,
    params={
        "what": Param(
            None,
            type=["null", "string"],
            title="Invoice or team",
            description_md="The number of an invoice: its cycle. The id of a team: its closed cycles.",
        ),
        "cycle_start": instant_param("Cycle start", "Of the team, only the cycle that began at this instant."),
        "from": instant_param("From", "Cycles that ended at this instant or later."),
        "to": instant_param("To", "Cycles that ended before this instant."),
        "everything": Param(False, type="boolean", title="Everything", description_md="Every closed cycle."),
        "documents": Param(
            True, type="boolean", title="Documents", description_md="Make XML and PDF again, and compare them too."
        ),
        "from_genesis": Param(
            False,
            type="boolean",
            title="From genesis",
            description_md="Trust no stored attribution and no opening: begin with the archived source bytes. One task "
            "reads all of the history.",
        ),
        "as_known_now": Param(
            False,
            type="boolean",
            title="As known now",
            description_md="Show what today's knowledge would change, and by how much: figures, not documents.",
        ),
    },
    **COMMON,
)
def audit_rerun() -> None:
    @task
    def choose_cycles() -> list[int]:
        from billing.steps.audit.in_parts import shards_with

        with home_and_settings() as (home, _):
            return shards_with(home, _asked())

    @task(map_index_template="shard {{ task.op_kwargs['shard'] }}")
    def compare_again(shard: int) -> dict[str, Any]:
        from billing.steps.audit.in_parts import compare_shard
        from billing.steps.audit.page import versions_here

        run_id = get_current_context()["dag_run"].run_id
        with home_and_settings() as (home, settings):
            asked = _asked()
            compared = compare_shard(home, run_id, asked, shard)
            versions = versions_here(home, settings.templates, settings.theme, documents=asked.documents)
        count("audit.compared", compared)
        lineage(["ledger", "usage", "reference", "invoices", "documents"], [])
        return {"shard": shard, "versions": versions}

    @task
    def leave_report(parts: list[dict[str, Any]]) -> str:
        from billing.steps.audit.comparing import Verdict
        from billing.steps.audit.in_parts import leave_report as leave
        from billing.steps.audit.page import in_one_line

        run_id = get_current_context()["dag_run"].run_id
        made = list(parts)
        shards, versions = [part["shard"] for part in made], [part["versions"] for part in made]
        with home_and_settings() as (home, settings):
            asked = _asked()
            found, report = leave(home, run_id, asked, shards, versions, settings.audit_templates)
        said = f"{in_one_line(asked, found)} The report: {report}"
        count("audit.different", found.count(Verdict.DIFFERS))
        if found.verdict is Verdict.DIFFERS:
            raise AirflowFailException(said)
        print(said)
        return str(report)

    leave_report(compare_again.expand(shard=choose_cycles()))


audit_rerun()
