"""The task of `audit_heads`, in a process with an Airflow of its own: skipped without a place, else a head is kept, and
mailed by a connection of Airflow to a real SMTP server.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from billing.steps.audit.chain import verify_log
from billing.store.home import Home
from tests.steps.small_world import Shop

DAGS = Path(__file__).parents[2] / "dags"
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import audit_heads as module
from airflow.sdk.exceptions import AirflowSkipException
dag = module.audit_heads()
module.get_current_context = lambda: {"params": dag.params.dump()}
try:
    told = dag.tasks[0].python_callable()
except AirflowSkipException:
    told = "skipped"
print("RETURNED", json.dumps(told))
"""


class Inbox:
    """What an SMTP server was given: (recipients, message)."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:
        message = message_from_bytes(envelope.content or b"", _class=EmailMessage, policy=default)
        self.mails.append((list(envelope.rcpt_tos), message))
        return "250 taken"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, str]]:
    """A server, and the connection to it as Airflow takes it from the environment."""
    inbox = Inbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "billing@example.com"}
    yield (
        inbox,
        json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}),
    )
    server.stop()


def test_the_task_keeps_a_head_where_a_place_is_set(tmp_path: Path, inbox: tuple[Inbox, str]) -> None:
    shop = Shop(home=Home.at(tmp_path / "home"), folder=tmp_path / "in")
    shop.home.create()
    shop.load()
    head = str(verify_log(shop.home))
    shop.home.close()
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SMTP_DEFAULT": inbox[1],
        "BILLING_HOME": str(tmp_path / "home"),
    }

    def run() -> object:
        command = [sys.executable, "-c", SCRIPT, str(DAGS)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RETURNED ")]
        return json.loads(line.removeprefix("RETURNED "))

    assert run() == "skipped"
    (tmp_path / "home" / "billing.toml").write_text('[audit]\nheads = "../kept"\nmail = "a@example.com"\n')
    assert run() == {"head": head, "new": True, "mailed": "a@example.com"}
    assert run() == {"head": head, "new": False, "mailed": "a@example.com"}
    for recipients, message in inbox[0].mails:
        assert recipients == ["a@example.com"]
        assert message["From"] == "billing@example.com"
        assert head in message.get_body().get_content()  # type: ignore[union-attr]
    assert len(inbox[0].mails) == 2
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.read_text() == f"{head}\n"
