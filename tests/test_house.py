"""The house: which part may import which, and that Airflow's walk over ``plugins/`` finds nothing (see the package's
map).
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "plugins" / "billing"
EDGES = {
    "core": {"core"},
    "intake": {"intake", "core"},
    "store": {"store", "core"},
    "documents": {"documents", "core"},
    "outbound": {"outbound", "core"},
    "steps": {"steps", "intake", "store", "documents", "outbound", "core"},
    "settings": {"settings", "core"},
    "connections": {"settings", "core"},
    "commands": {"commands", "steps", "settings", "connections", "core"},
    "cli": {"commands", "steps", "settings", "core"},
    "demo": {"demo", "steps", "settings", "core"},
    "dags": {"steps", "settings", "connections", "core"},
    "web": {"web", "store", "settings", "connections", "core"},
    "airflow_plugin": {"web"},
}
CORE_LIBRARIES = {"numpy", "pandas", "tzdata", *sys.stdlib_module_names}
AIRFLOW_ALLOWED = {"dags", "airflow_plugin", "connections"}
AIRFLOW_FILES = {
    ("web", "access.py"),  # asks Airflow who may see what
    ("demo", "airflow_processes.py"),  # the demo's own processes, forked from one that has imported Airflow
}
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "dags").glob("*.py")])


def part_of(path: Path) -> str:
    if path.parent.name == "dags":
        return "dags"
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def runtime_imports(path: Path) -> set[str]:
    """Full names that a file imports, wherever in it; what only a type checker reads does not count."""
    tree = ast.parse(path.read_text("utf-8"))
    checked_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level)
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        assert runtime_imports(path) == set(), "the package itself imports nothing"
        return
    for name in runtime_imports(path):
        head, _, rest = name.partition(".")
        assert head, f"{path}: relative imports fail where Airflow loads a file by itself"
        if head == "billing":
            assert rest.split(".")[0] in EDGES[part], f"{part} must not import {name}"
        elif head == "airflow":
            assert part in AIRFLOW_ALLOWED or (part, path.name) in AIRFLOW_FILES, f"{part} must not import {name}"
        elif part == "core":
            assert head in CORE_LIBRARIES, f"core must not import {name}"


@pytest.mark.parametrize("path", [p for p in SOURCES if part_of(p) == "core"], ids=lambda p: p.stem)
def test_core_asks_no_clock_and_opens_no_file(path: Path) -> None:
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
    }
    reads_zone_data = {"open", "read_text"} if path.stem == "zones" else set()
    assert not called & ({"now", "today", "utcnow", "time", "open", "read_text", "read_bytes"} - reads_zone_data)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_settings_reads_the_environment(path: Path) -> None:
    allowed = {"settings", "demo"}  # the demo makes the environment of the Airflow that it starts
    text = path.read_text("utf-8")
    if part_of(path) not in allowed and path.stem != "engine":
        assert "os.environ" not in text and "getenv" not in text


def test_no_module_bears_a_name_of_the_standard_library() -> None:
    """Airflow executes what it finds under its bare file name: ``calendar.py`` would replace the library's."""
    loaded_by_name = [*(ROOT / "dags").glob("*.py"), *(ROOT / "plugins").glob("*.py")]
    assert not [path for path in loaded_by_name if path.stem in sys.stdlib_module_names]


def test_airflow_finds_no_file_in_the_plugins_folder() -> None:
    file_tools = pytest.importorskip("airflow._shared.module_loading.file_discovery", reason="moved in this Airflow")
    found = file_tools.find_path_from_directory(str(ROOT / "plugins"), ".airflowignore", "glob")
    assert [path for path in found if str(path).endswith(".py")] == []


def test_the_package_is_the_one_in_the_checkout() -> None:
    import billing

    assert Path(str(billing.__file__)).is_relative_to(ROOT / "plugins")


def test_the_plugin_is_registered_by_its_entry_point() -> None:
    from importlib.metadata import entry_points

    (found,) = [point for point in entry_points(group="airflow.plugins") if point.name == "billing"]
    assert found.value == "billing.airflow_plugin:BillingPlugin"
