"""Mail servers by the id of an Airflow connection, as Airflow's own provider reads it."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing import connections
from billing.core.errors import BillingError, SourceUnavailable, UsageError
from tests.steps.mail_world import Server, connection_to, serving

PASSWORD = "pa/ss@wörd:1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody trusts, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "made.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(made), "-subj", "/CN=127.0.0.1", "-days", "2"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server(), password="right") as handler:
        yield handler


def define(monkeypatch: pytest.MonkeyPatch, port: int, **extra: object) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection_to(port, **extra))


def logged_in(port: int, password: str) -> str:
    return connection_to(port).replace('"host"', f'"login": "me", "password": "{password}", "host"', 1)


def test_host_port_login_and_sender_are_the_connections(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", logged_in(server.port, "right"))
    client = connections.smtp("smtp_default")
    assert client.noop()[0] == 250
    client.quit()
    assert connections.smtp_sender("smtp_default") == "billing@example.com"


def test_a_log_in_that_is_refused(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", logged_in(server.port, PASSWORD))
    with pytest.raises(BillingError) as caught:
        connections.smtp("smtp_default")
    assert isinstance(caught.value, UsageError | SourceUnavailable) and PASSWORD not in str(caught.value)


def test_tls_is_demanded_and_the_certificate_checked(
    monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(Server(), tls=context) as handler:
        define(monkeypatch, handler.port, disable_tls=False)
        with pytest.raises(SourceUnavailable, match="cannot be trusted .SSLCertVerificationError"):
            connections.smtp("smtp_default")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        client = connections.smtp("smtp_default")
        assert client.sock.version().startswith("TLS")  # type: ignore[union-attr]
        client.quit()


def test_a_server_without_tls_is_not_used_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server()) as handler:
        define(monkeypatch, handler.port, disable_tls=False)
        with pytest.raises(UsageError, match="SMTPNotSupportedError"):
            connections.smtp("smtp_default")


def test_what_is_not_there_or_of_another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, 1)
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        connections.smtp("smtp_default")
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", '{"conn_type": "postgres", "host": "x"}')
    with pytest.raises(UsageError, match="is of the type 'postgres'; mail needs one of smtp"):
        connections.smtp("smtp_default")
    with pytest.raises(UsageError, match="AIRFLOW_CONN_NOT_THERE"):
        connections.smtp_sender("not_there")
