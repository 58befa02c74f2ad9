"""What was expected in a check, read from its kept page as Great Expectations rendered it then.

The books keep what failed, and how many expectations there were; what held is in the page alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

_EXPECTATION = re.compile(r"(?P<name>[\w.]+) \((?P<severity>critical|warning)\): (?P<says>.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectationRow:
    """An expectation in words. ``name`` is what the code and who accepts it call it."""

    name: str
    severity: str
    says: str


def expectations_of(page: bytes) -> tuple[ExpectationRow, ...]:
    """Each once, in the page's order; none where the page has another form."""
    read = _Texts()
    read.feed(page.decode("utf-8", "replace"))
    read.close()
    matches = (_EXPECTATION.fullmatch(" ".join(text.split())) for text in read.texts)
    found = {match["name"]: ExpectationRow(**match.groupdict()) for match in matches if match}
    return tuple(found.values())


class _Texts(HTMLParser):
    """The texts between a page's marks."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        """As the parser has it."""
        self.texts.append(data)
