"""The page of a validation result: Great Expectations' own Data Docs, in a shell that needs no network.

Its page loads style sheets, fonts, scripts and a logo from eleven addresses elsewhere. Here its sections stand in a
shell of ours with a small style sheet inside; the page says by its own Content-Security-Policy that nothing may be
loaded or run, so that it is as harmless in a mail as behind Airflow's log-in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from billing.intake.expectations.suite import Expected, Failure, Suite

_SHOWN_MAX = 200
_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", "&": "＆", '"': "”", "'": "’", "$": "＄", "`": "ˋ"})
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:70rem;padding:0 1rem;color:#1c2430;
background:#fff}
h1{font-size:1.3rem;margin:0 0 .3rem}h5{font-size:1.05rem;margin:.2rem 0}h6,.h6{font-size:.95rem;margin:.2rem 0;
font-weight:600}p,ul{margin:.3rem 0 1rem}.ge-section{border-top:1px solid #d5dae1;margin-top:1rem;padding-top:.6rem}
table{border-collapse:collapse;width:100%;margin:.4rem 0}th,td{border:1px solid #d5dae1;padding:.3rem .5rem;
text-align:left;vertical-align:top}th{background:#f2f4f7}.failed{border-left:4px solid #b3261e;padding-left:.8rem}
.warning{border-left:4px solid #9a6700;padding-left:.8rem}.badge{font-size:.85em}i.fas{font-style:normal}
.fa-check-circle::before{content:"\\2714";color:#1a7f37}.fa-times::before{content:"\\2718";color:#b3261e}
.fa-exclamation-triangle::before{content:"\\26A0";color:#9a6700}
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e3e7ee}th{background:#222834}
th,td,.ge-section{border-color:#39414f}}
"""
_SHELL = """<!DOCTYPE html>
<html lang="en"><head><meta charset="UTF-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ title }}</title><style>{{ style }}</style>
</head><body><h1>{{ title }}</h1>
{{ summary }}
{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}
</body></html>
"""
_DEAD_LINK = re.compile(r'<a href="[^"]*"[^>]*>(.*?)</a>|<a data-toggle="[^>]*>.*?</a>', re.DOTALL)
_NOT_READ = re.compile(r' (?:id|data-[a-z-]+|aria-[a-z-]+)="[^"]*"|<script.*?</script>', re.DOTALL)


def plain(value: object) -> object:
    """Text as it may stand in a page, whatever it came from: each character that means something to a browser or a
    template is replaced by one that looks like it. Other values as they are.

    Great Expectations escapes some of what it renders and not the rest; what is no markup needs no escaping.
    """
    if not isinstance(value, str):
        return value
    shown = _CONTROLS.sub("�", value).translate(_LOOK_ALIKES).replace("//", "∕∕")
    return shown if len(shown) <= _SHOWN_MAX else shown[:_SHOWN_MAX] + "…"


def page_of(
    suite: Suite, results: Sequence[tuple[Expected, Mapping[str, Any]]], failures: Mapping[str, Failure]
) -> bytes:
    """The page of a suite's results, in UTF-8. It holds no address of anything elsewhere and no script."""
    title = f"{suite.name}: {suite.subject}"
    if not results:
        return _shell(title, [], failures)
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    passed = len(results) - len(failures)
    document = ValidationResultsPageRenderer().render(
        ExpectationSuiteValidationResult(
            success=not failures,
            results=[_result(expected, result) for expected, result in results],
            suite_name=str(plain(suite.name)),
            statistics={
                "evaluated_expectations": len(results),
                "successful_expectations": passed,
                "unsuccessful_expectations": len(failures),
                "success_percent": 100 * passed / len(results),
            },
            meta={"batch_kwargs": {"data_asset_name": plain(suite.subject)}},
        )
    )
    sections = document.to_json_dict()["sections"]
    sections[0]["content_blocks"].pop()  # how Great Expectations was called
    return _shell(title, sections, failures)


def _result(expected: Expected, result: Mapping[str, Any]) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    kept = {name: value for name, value in result["expectation_config"]["kwargs"].items() if name != "batch_id"}
    configuration = ExpectationConfiguration(
        type=result["expectation_config"]["type"],
        kwargs=kept,
        meta={},
        description=f"{plain(expected.name)} ({expected.severity}): {_long(expected.says)}",
        severity=FailureSeverity(expected.severity),
    )
    return ExpectationValidationResult(
        success=result["success"],
        expectation_config=configuration,
        result=dict(result["result"]),
        exception_info=dict(result["exception_info"]),
        meta={},
    )


def _long(text: str) -> str:
    """As ``plain``, for sentences of ours: they may be longer."""
    return "".join(str(plain(text[low : low + _SHOWN_MAX])) for low in range(0, len(text), _SHOWN_MAX))


def _shell(title: str, sections: object, failures: Mapping[str, Failure]) -> bytes:
    from great_expectations.render.view.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    view = DefaultJinjaPageView()
    view.env.loader = ChoiceLoader([DictLoader({"shell.j2": _SHELL}), view.env.loader])  # type: ignore[list-item]
    html = view.env.get_template("shell.j2").render(
        title=_long(title), style=_STYLE, summary=_summary(failures), sections=sections
    )
    html = _NOT_READ.sub("", _DEAD_LINK.sub(lambda link: link[1] or "", html))
    return re.sub(r"\s*\n\s*", "\n", html).encode()


def _summary(failures: Mapping[str, Failure]) -> str:
    if not failures:
        return "<p>Everything is as expected.</p>"
    said = [f'<li class="{_class(each)}">{escape(_long(str(each)))}</li>' for each in failures.values()]
    return f"<p>Not as expected:</p><ul>{''.join(said)}</ul>"


def _class(failure: Failure) -> str:
    return "failed" if failure.severity == "critical" else "warning"
