"""Console transcripts in a document: commands after ``$ ``, and what they say, line by line.

In what they say ``...`` stands for anything within a line, and a line of its own ``...`` for any number of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command of a transcript, and the lines that it is said to print."""

    line: str
    says: tuple[str, ...]


def entries(document: Path) -> dict[str, list[Command]]:
    """By heading of the second level, the commands of its ``console`` blocks in order; headings without any are left
    out.
    """
    found: dict[str, list[Command]] = {}
    for part in re.split(r"(?m)^## ", document.read_text("utf-8"))[1:]:
        heading, _, body = part.partition("\n")
        blocks = re.findall(r"(?ms)^```console\n(.*?)^```", body)
        if commands := [command for block in blocks for command in _commands(block)]:
            found[heading.strip()] = commands
    return found


def _commands(block: str) -> Iterator[Command]:
    for part in re.split(r"(?m)^\$ ", block)[1:]:
        line, _, said = part.partition("\n")
        while line.endswith("\\"):
            more, _, said = said.partition("\n")
            line = line.removesuffix("\\").rstrip() + " " + more.strip()
        yield Command(line=line, says=tuple(said.rstrip("\n").splitlines()))


def differs(expected: Sequence[str], said: Sequence[str]) -> str | None:
    """The first expected line that is not there, or None where all is as the document says."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else _line(line) for line in expected)
    if re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in said)):
        return None
    for count in range(1, len(expected) + 1):
        so_far = "".join(r"(?:.*\n)*?" if line == "..." else _line(line) for line in expected[:count])
        if not re.match(so_far, "".join(f"{line.rstrip()}\n" for line in said)):
            return expected[count - 1]
    return "(nothing more)"


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"\n"
