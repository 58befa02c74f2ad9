"""The tables of ``docs/process.md`` that are made from code: ``python -m tests.process_page`` writes them anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from billing.steps import commit_points

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "process.md"
PACKAGE = ROOT / "plugins" / "billing"


def laws() -> str:
    """A row a query of ``sql/checks``: what its header says first, and within which bounds."""
    rows = []
    for path in sorted((ROOT / "sql" / "checks").glob("*.sql")):
        lines = [line.removeprefix("--").strip() for line in path.read_text("utf-8").splitlines() if line[:2] == "--"]
        bounds = re.search(r"Bounds: (.*?)\.(?: |$)", " ".join(lines))
        rows.append((f"`{path.stem}`", lines[0], bounds.group(1) if bounds else ""))
    return _table(("law", "says", "bounds"), rows)


def log_entries() -> str:
    """A row a kind of entry: where the code appends it."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for kind in _appended(ast.parse(path.read_text("utf-8"))):
            found.setdefault(kind, set()).add(f"`{path.relative_to(PACKAGE)}`")
    return _table(("entry", "written by"), [(f"`{kind}`", ", ".join(sorted(by))) for kind, by in sorted(found.items())])


def points() -> str:
    """A row a point at which the tests kill the process."""
    names = (*commit_points.ALL, *commit_points.BY_HAND, *commit_points.STANDINGS, *commit_points.UPKEEP)
    return _table(("step", "point"), [tuple(name.split(": ", 1)) for name in names])


def _appended(tree: ast.Module) -> Iterator[str]:
    """The kinds that a module gives ``log.append``: texts, or constants of the module."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "log.append":
            kind = node.args[2]
            yield str(kind.value if isinstance(kind, ast.Constant) else constants[ast.unparse(kind)])


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def up_to_date(page: str) -> str:
    """The page with its tables made anew, each between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    for name, made in (("laws", laws()), ("log entries", log_entries()), ("commit points", points())):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, _, rest = page.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"{PAGE.name} has no {begin} ... {end}")
        page = f"{head}{begin}\n{made}\n{end}{tail}"
    return page


if __name__ == "__main__":
    PAGE.write_text(up_to_date(PAGE.read_text("utf-8")), "utf-8")
