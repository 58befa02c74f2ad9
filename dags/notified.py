"""Any notifier of Airflow, told how a run ended, or of new alerts: those that `[[notify]]` in the home's `billing.toml`
names.

Nothing is read and nothing heavy imported before there is something to tell. A notifier that fails fails no run.
"""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger(__name__)


def on_success(context: Any) -> None:
    """The callback of a DAG: a run succeeded."""
    tell("success", context)


def on_failure(context: Any) -> None:
    """The callback of a DAG: a run failed."""
    tell("failure", context)


def tell(outcome: str, context: Any) -> None:
    """Have every notifier of this outcome say it. Their templates may use what Airflow gives, and ``outcome``,
    ``close_no`` (blank before the first close) and ``summary`` (lines of text). A success that closed nothing is told
    to nobody: the DAG runs every hour.
    """
    from wiring import home_and_settings

    try:
        with home_and_settings() as (home, settings):
            wanted = [one for one in settings.notify if outcome in one.on]
            if not wanted:
                return
            close_no, summary, closed = _last_close(home)
    except Exception as error:
        _log.error("the notifiers could not be read: %s", error)
        return
    if outcome == "success" and not closed:
        return
    for one in wanted:
        _notify(one, {**context, "outcome": outcome, "close_no": close_no, "summary": summary})


def tell_alerts(settings: Any, alerted: Any, context: Any) -> None:
    """Have every notifier that has ``alerts`` in its ``on`` say which alerts were raised, where any were. Their
    templates may use what Airflow gives, ``outcome`` (``alerts``), ``raised`` (how many) and ``summary`` (a line each).
    """
    if not alerted.raised:
        return
    more = {"outcome": "alerts", "close_no": "", "raised": alerted.raised, "summary": "\n".join(alerted.words)}
    for one in settings.notify:
        if "alerts" in one.on:
            _notify(one, {**context, **more})


def _notify(one: Any, context: dict[str, Any]) -> None:
    from importlib import import_module

    module, _, name = one.notifier.rpartition(".")
    try:
        getattr(import_module(module), name)(**one.arguments)(context)
    except Exception as error:  # whatever a notifier raises: the run ended as it did
        _log.error("%s failed: %s", one.notifier, type(error).__name__)


def _last_close(home: Any) -> tuple[str, str, int]:
    """Number, summary and closed cycles of the last close that was issued."""
    from billing.steps.run_summary import in_words, last_issued, run_summary

    close_no = last_issued(home)
    if close_no is None:
        return "", "", 0
    found = run_summary(home, close_no)
    return str(close_no), "\n".join(in_words(found)), found.cycles
