"""``docs/process.md``: its tables are those that the code gives, and what it names is there."""

from __future__ import annotations

import re
from typing import Any

from typer.main import get_command

from billing.cli import app
from tests.process_page import PACKAGE, PAGE, ROOT, up_to_date


def test_the_tables_are_up_to_date() -> None:
    page = PAGE.read_text("utf-8")
    assert page == up_to_date(page), "run `python -m tests.process_page`"


def test_every_module_and_test_that_is_named_is_there() -> None:
    page = PAGE.read_text("utf-8")
    modules = set(re.findall(r"`([a-z_/]+\.py)`", page))
    tests = set(re.findall(r"`(tests/[a-z_/.]+)`", page))
    assert modules and tests
    for name in modules - tests:
        assert (PACKAGE / name).is_file() or (ROOT / name).is_file(), name
    for name in tests:
        assert (ROOT / name).exists(), name


def test_every_command_that_is_named_is_there() -> None:
    named = set(re.findall(r"`billing ([a-z -]+)", PAGE.read_text("utf-8")))
    assert named
    for words in named:
        command: Any = get_command(app)
        for word in words.split(" --")[0].split():
            command = command.commands[word]
        options = {text for parameter in command.params for text in parameter.opts}
        assert {f"--{option.split()[0]}" for option in words.split(" --")[1:]} <= options, words
