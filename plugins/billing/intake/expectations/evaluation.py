"""Suites evaluated by Great Expectations: the only place where it is imported.

Its import costs more than everything it does here: about 4 s, more than half of that for libraries (statistics, charts,
Amazon's) that no expectation of ours uses. Some are put off while it is imported, and come by themselves if it ever
asks; it does without the others, as where they are not installed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pandas as pd

from billing.intake.expectations.data_docs import page_of, plain
from billing.intake.expectations.suite import Expected, Failure, Frames, Inspected, Suite

_PUT_OFF = ("altair", "scipy.stats", "mistune")
_DONE_WITHOUT = ("boto3", "botocore", "botocore.client")
_ROWS_NAMED = 5


def inspect(suite: Suite, frames: Frames) -> Inspected:
    """Evaluate a suite. A frame that is empty is not looked at: of nothing, nothing is expected.

    Raises ``RuntimeError`` where an expectation cannot be evaluated at all, which is a bug in the suite.
    """
    results = []
    for name, frame in frames.items():
        mine = [expected for expected in suite.expectations if expected.frame == name]
        if mine and len(frame):
            results += _evaluate(mine, frame)
    failures = {e.name: _failure(e, result, frames[e.frame]) for e, result in results if not result["success"]}
    return Inspected(
        suite=suite.name,
        subject=suite.subject,
        expectations=len(results),
        failures=tuple(failures.values()),
        page=page_of(suite, results, failures),
    )


def _evaluate(expectations: Sequence[Expected], frame: pd.DataFrame) -> list[tuple[Expected, dict[str, Any]]]:
    """Each expectation with Great Expectations' result of it, as JSON, in the order of the suite."""
    gx = great_expectations()
    by_name = {expected.name: expected for expected in expectations}
    suite = gx.ExpectationSuite(name="suite", expectations=[_expectation(gx, e) for e in expectations])
    definition = _context(gx).data_sources.add_pandas("frames").add_dataframe_asset("frame")
    batch = definition.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": _shown(frame)})
    found = {}
    for result in batch.validate(suite, result_format="SUMMARY").results:
        found[result.expectation_config.meta["name"]] = result.to_json_dict()
        if "raised_exception" not in result.exception_info or result.exception_info["raised_exception"]:
            raise RuntimeError(f"{result.expectation_config.meta['name']}: {result.exception_info}")
    return [(expected, found[name]) for name, expected in by_name.items()]


def _expectation(gx: Any, expected: Expected) -> Any:
    return getattr(gx.expectations, expected.kind)(
        **expected.arguments, severity=expected.severity, meta={"name": expected.name}
    )


def _context(gx: Any) -> Any:
    """A context in memory that tells nobody anything, draws no progress bars and makes no folder."""
    base = gx.data_context.types.base
    configuration = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=configuration)


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as the page may show it: no text of the data is markup. Numbers are as they are."""
    text = [name for name in frame.columns if pd.api.types.is_string_dtype(frame[name].dtype)]
    shown = frame.assign(**{name: frame[name].map(plain) for name in text})
    return shown.set_axis(pd.RangeIndex(len(shown)))


def _failure(expected: Expected, result: dict[str, Any], frame: pd.DataFrame) -> Failure:
    places = result["result"]["partial_unexpected_index_list"][:_ROWS_NAMED]
    columns = [value for name, value in expected.arguments.items() if name.startswith("column")]
    rows = [f"{frame.index[place]}: {_cells(frame, place, columns)}" for place in places]
    more = result["result"]["unexpected_count"] - len(rows)
    return Failure(
        name=expected.name,
        severity=expected.severity,
        expected=expected.says,
        observed="; ".join([*rows, *([f"and {more} more"] if more else [])]),
        advice=expected.advice,
    )


def _cells(frame: pd.DataFrame, place: int, columns: Sequence[str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {frame[name].iloc[place]}" for name in reversed(columns))


def great_expectations() -> ModuleType:
    """Great Expectations, imported as quickly as can be."""
    if "great_expectations" not in sys.modules:
        with _put_off(), _no_collection():
            for part in ("expectations", "render.renderer.page_renderer", "render.view"):
                importlib.import_module(f"great_expectations.{part}")
    return sys.modules["great_expectations"]


class _PutOff(ModuleType):
    """Stands for a library while Great Expectations is imported, and afterwards where that keeps it by name: the
    library itself is imported when something of it is asked for.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _put_off() -> Iterator[None]:
    mine: dict[str, ModuleType | None] = {name: _PutOff(name) for name in _PUT_OFF if name not in sys.modules}
    if "boto3" not in sys.modules and "botocore" not in sys.modules:
        mine |= dict.fromkeys(_DONE_WITHOUT)
    sys.modules.update(mine)  # type: ignore[arg-type]  # None: it is not to be found
    try:
        yield
    finally:
        for name, module in mine.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]


@contextmanager
def _no_collection() -> Iterator[None]:
    """An import makes a million objects that stay: looking for garbage among them is a fifth of its time, and would go
    on to cost whatever comes after.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
        atexit.register(gc.unfreeze)  # at the end everything is taken down in order, what was imported before too
    finally:
        if was_on:
            gc.enable()
