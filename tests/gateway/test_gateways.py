"""From ``billing.toml`` and an Airflow connection to a gateway: in a task, and in a process that knows no Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ConnectionResult, GetConnection

from billing import connections
from billing.core.errors import UsageError
from billing.outbound.gateways import Resolver, open_gateways
from billing.outbound.payment_gateway import GatewayState
from billing.settings.payments import GatewaySettings
from billing.settings.settings import Settings
from tests.gateway.asked import wanted
from tests.gateway.world import ROOT, World

TOML = """
[payments.gateways.stripe]
kind = "stripe"
connection = "stripe_key"
label = "acme"
minimum = { EUR = "1.00" }
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "billing.toml").write_text(TOML, "utf-8")
    return tmp_path


def test_the_module_is_a_resolver() -> None:
    resolver: Resolver = connections
    assert callable(resolver.gateway_access)


def test_a_gateway_is_known_by_its_name_and_resolved_at_its_first_use(
    monkeypatch: pytest.MonkeyPatch, home: Path, world: World
) -> None:
    gateways = open_gateways(Settings.read(home).payments.gateways, connections)
    gateway = gateways["stripe"]
    assert (list(gateways), gateway.name, gateway.minimum_minor("EUR")) == (["stripe"], "stripe", 100)
    with pytest.raises(UsageError, match="AIRFLOW_CONN_STRIPE_KEY"):
        gateway.charge("pi_1")
    monkeypatch.setenv("AIRFLOW_CONN_STRIPE_KEY", world.connection())
    method = world.stored_method()
    charge = gateway.open_charge(wanted(method))
    assert gateway.confirm(charge.reference, method[1]).state is GatewayState.SUCCEEDED
    assert world.intents()[0]["metadata"]["carryover_home"] == "acme"
    assert world.key not in repr(gateways)


def test_in_a_task_airflow_is_asked(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    asked = []

    class Supervisor:
        def send(self, message: object) -> object:
            if not isinstance(message, GetConnection):
                return None
            asked.append(message.conn_id)
            told = {"conn_id": "of_airflow", "conn_type": "http", "host": world.base, "password": world.key}
            return ConnectionResult.model_validate(dict.fromkeys(("login", "schema", "port", "extra")) | told)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)
    settings = GatewaySettings(name="a", kind="stripe", connection="of_airflow", label="a")
    gateway = open_gateways([settings], connections)["a"]
    assert asked == []
    customer, token = world.stored_method()
    assert gateway.stored_method(token).customer_reference == customer
    assert gateway.stored_method(token).token == token
    assert asked == ["of_airflow"], "once for a gateway"


PLAIN = """
import sys
from pathlib import Path
from billing import connections
from billing.outbound.gateways import open_gateways
from billing.settings.settings import Settings
gateways = open_gateways(Settings.read(Path(sys.argv[1])).payments.gateways, connections)
print("airflow" in sys.modules)
print(gateways["stripe"].stored_method(sys.argv[2]).customer_reference)
"""


def test_a_plain_process_needs_no_airflow(home: Path, world: World) -> None:
    customer, token = world.stored_method()
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "plugins"),
        "AIRFLOW_CONN_STRIPE_KEY": world.connection(),
    }
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(home), token], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["False", customer], done.stderr
    assert world.key not in done.stdout + done.stderr
    assert [path.name for path in home.iterdir()] == ["billing.toml"]


def test_opening_gateways_imports_no_sdk_where_there_is_none() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, billing.outbound.gateways; print('stripe' in sys.modules)"],
        capture_output=True,
        text=True,
    )
    assert said.stdout == "False\n"


def test_the_smallest_charge_of_the_settings_counts() -> None:
    settings = GatewaySettings(name="a", kind="stripe", connection="c", label="a", minimum={"GBP": Decimal("2.50")})
    gateway = open_gateways([settings], connections)["a"]
    assert (gateway.minimum_minor("GBP"), gateway.minimum_minor("EUR")) == (250, 50)
