"""The process that runs Schematron rules. Started by ``saxon.SaxonProcess``; imports nothing of this package.

A line of JSON in, a line of JSON out. The first line out is ``{"ready": version}`` or ``{"error": why}``. A request is
``{"rules": path of an XSLT, "documents": [XML, ...]}``; its answer is a list of reports (SVRL, XML) in the same order,
where a document stopped the rules ``{"error": why}`` in place of its report. It ends when its input ends or its parent
does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any, TextIO

_PARENT_CHECK_SECONDS = 0.5


def main() -> None:
    """Answer requests until there are no more."""
    out = _only_for_answers()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        from saxonche import PySaxonProcessor

        processor = PySaxonProcessor(license=False)
    except Exception as error:
        _send(out, {"error": f"{type(error).__name__}: {error}"})
        return
    _send(out, {"ready": processor.version})
    compiled: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        _send(out, [_report(processor, compiled, request["rules"], text) for text in request["documents"]])


def _report(processor: Any, compiled: dict[str, Any], rules: str, text: str) -> str | dict[str, str]:
    try:
        if rules not in compiled:
            compiled[rules] = processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=rules)
        node = processor.parse_xml(xml_text=text)
        return str(compiled[rules].transform_to_string(xdm_node=node))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _only_for_answers() -> TextIO:
    """What was standard output; whatever Saxon prints goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return out


def _end_with_parent(parent: int) -> None:
    # A parent that was killed closes its pipe only if no forked child of it holds that pipe open too.
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(0)


def _send(out: TextIO, answer: object) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
