"""The bridge to Airflow's connections: credentials by the id of a connection.

In a task Airflow gives them. In a process that Airflow did not start the environment does (``AIRFLOW_CONN_<ID>``), or
the secrets backend that Airflow is configured with: no database of Airflow is needed, and nothing is made in its home.
This module is what ``intake/sources/opening.py`` and ``outbound/gateways.py`` call a resolver. No password is in any
message.
"""

from __future__ import annotations

import smtplib
import ssl
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import URL

from billing.core.errors import SourceUnavailable, UsageError
from billing.settings.airflow_import import plain_airflow

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_DRIVERS = {"postgres": "postgresql+psycopg", "sqlite": "sqlite", "mysql": "mysql"}
_THIS_MACHINE = frozenset(("localhost", "127.0.0.1", "::1"))
# What Airflow's hooks read from a connection's extra themselves; it is no option of a driver.
_OF_HOOKS = frozenset(
    ("sqlalchemy_scheme", "sqlalchemy_query", "cursor", "iam", "redshift", "aws_conn_id", "azure_conn_id", "schema")
)


def sql_url(conn_id: str) -> str:
    """A connection of the type postgres, sqlite or mysql as a SQLAlchemy URL with driver and password; its extra as the
    URL's options. A connection of another type gives dialect and driver as ``sqlalchemy_scheme`` in its extra.

    Raises ``UsageError`` where it is not defined, or its type is no database that is known here.
    """
    connection = _connection(conn_id)
    extra = connection.extra_dejson
    scheme = extra.get("sqlalchemy_scheme") or _DRIVERS.get(connection.conn_type)
    if not scheme:
        raise UsageError(
            f"The connection {conn_id!r} is of the type {connection.conn_type!r}; make it {', '.join(_DRIVERS)}, or "
            'give dialect and driver in its extra, as {"sqlalchemy_scheme": "dialect+driver"}.'
        )
    options = _options(extra)
    if scheme == "sqlite":
        return URL.create(scheme, database=connection.host or connection.schema, query=options).render_as_string()
    return URL.create(
        scheme,
        username=connection.login or None,
        password=connection.password or None,
        host=connection.host or None,
        port=connection.port,
        database=connection.schema or None,
        query=options,
    ).render_as_string(hide_password=False)


def storage(conn_id: str, url: str) -> AbstractFileSystem:
    """The file system for a URL like ``s3://bucket/prefix``, opened by Airflow's provider for it with all that the
    connection says (of type aws: keys, roles, region, endpoint).

    Raises ``UsageError`` where the connection is not defined, or no provider for the scheme is installed.
    """
    connection, scheme = _connection(conn_id), url.partition("://")[0]
    try:
        with _airflow():
            from airflow.sdk.io import get_fs

            return get_fs(scheme, conn_id)
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{scheme}:// cannot be opened with the connection {conn_id!r} of the type {connection.conn_type!r} "
            f"({type(error).__name__}): install Airflow's provider for {scheme} with fsspec's library for it, and see "
            "that the connection is of its type."
        ) from None


def object_store(conn_id: str) -> Callable[[], dict[str, str]]:
    """What opens an S3 API with all that a connection of the type aws says (keys, roles, region, endpoint), named as in
    ``store/lake_storage.py``. It is called for each use, since a role's keys are replaced; the first call resolves the
    connection.

    That raises ``UsageError`` where it is not defined or gives no keys, or Airflow's provider is not installed.
    """
    session: list[Any] = []

    def given() -> dict[str, str]:
        if not session:
            session.append(_aws(conn_id))
        credentials, region, endpoint = session[0]
        keys = credentials.get_frozen_credentials()
        named = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
            "aws_region": region,
            "aws_endpoint_url": endpoint,
        }
        return {name: value for name, value in named.items() if value}

    return given


def gateway_access(conn_id: str) -> tuple[str, str]:
    """What opens a payment gateway's API: the secret key, which is the connection's password, and the base address,
    blank where the connection names no host (then it is the gateway's own).

    Raises ``UsageError`` where the connection is not defined or has no password, or would send a live key over a
    network without encryption.
    """
    connection = _connection(conn_id)
    key = (connection.password or "").strip()
    if not key:
        raise UsageError(
            f"The connection {conn_id!r} has no password: the secret key of the payment gateway goes there."
        )
    base = _base_address(connection)
    is_readable = base.startswith("http://") and urlsplit(base).hostname not in _THIS_MACHINE
    if is_readable and "_live_" in key:
        raise UsageError(f"The connection {conn_id!r} would send a live key unencrypted over a network: make it https.")
    return key, base


def _base_address(connection: Any) -> str:
    """From host, port and schema; the host may be a whole address. Nothing else of the connection is in it."""
    host = (connection.host or "").rstrip("/")
    if not host:
        return ""
    address = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    return f"{address}:{connection.port}" if connection.port else address


def _aws(conn_id: str) -> tuple[Any, str | None, str | None]:
    """Credentials that renew themselves, the region, and the endpoint of S3 where it is not Amazon's."""
    wrong = f"The connection {conn_id!r} gives no keys of an S3 API; make it of the type aws, with keys or a role."
    if _connection(conn_id).conn_type != "aws":
        raise UsageError(wrong)
    try:
        with _airflow():
            from airflow.providers.amazon.aws.hooks.s3 import S3Hook

            hook = S3Hook(aws_conn_id=conn_id)
            session = hook.get_session()
            endpoint = hook.conn_config.get_service_endpoint_url(service_name="s3")
    except ImportError:
        raise UsageError("The lake on S3 needs Airflow's provider for it: pip install 'carryover[s3]'.") from None
    credentials = session.get_credentials()
    if credentials is None:
        raise UsageError(wrong)
    return credentials, session.region_name, endpoint


def smtp(conn_id: str) -> smtplib.SMTP:
    """A connection to a mail server, logged in, with all that a connection of the type smtp says to Airflow's SMTP
    provider (host, port, login, SSL or STARTTLS, time-out, OAuth). Only connecting is tried again (``retry_limit``).

    Raises ``UsageError`` where it is not defined, or the server refuses the log-in; ``SourceUnavailable`` where it
    cannot be reached, or its certificate is not trusted.
    """
    hook = _smtp_hook(conn_id)
    try:
        hook.get_conn()
    except smtplib.SMTPAuthenticationError as error:
        raise UsageError(
            f"The mail server of the connection {conn_id!r} refuses its log-in ({error.smtp_code}): see to login and "
            "password there."
        ) from None
    except ssl.SSLError as error:  # also a ValueError, where a certificate is not trusted
        raise SourceUnavailable(
            f"The mail server of the connection {conn_id!r} cannot be trusted ({type(error).__name__}): see that its "
            "certificate is one that this machine trusts, for the host that the connection names."
        ) from None
    except (smtplib.SMTPNotSupportedError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"The mail server of the connection {conn_id!r} cannot do what the connection wants "
            f"({type(error).__name__}): see to disable_ssl, disable_tls, ssl_context and auth_type in its extra."
        ) from None
    except Exception as error:  # the provider also raises errors of its own
        raise SourceUnavailable(
            f"The mail server of the connection {conn_id!r} cannot be reached, or broke off ({type(error).__name__}). "
            "See that it is up, and that host, port, SSL and STARTTLS of the connection are right; run again."
        ) from None
    client: smtplib.SMTP = hook._smtp_client
    return client


def smtp_sender(conn_id: str) -> str:
    """The address that a connection of the type smtp sends from; blank where it names none."""
    return str(_connection(conn_id).extra_dejson.get("from_email") or "")


def _smtp_hook(conn_id: str) -> Any:
    """Airflow's hook, which alone knows all that such a connection may say."""
    if (connection := _connection(conn_id)).conn_type not in ("smtp", "email"):
        raise UsageError(f"The connection {conn_id!r} is of the type {connection.conn_type!r}; mail needs one of smtp.")
    try:
        with _airflow():
            from airflow.providers.smtp.hooks.smtp import SmtpHook
    except ImportError:
        raise UsageError("Mail needs Airflow's provider for it: pip install apache-airflow-providers-smtp.") from None
    return SmtpHook(smtp_conn_id=conn_id, auth_type=str(connection.extra_dejson.get("auth_type") or "basic"))


def _connection(conn_id: str) -> Any:
    """Airflow's connection; its secrets are masked in Airflow's logs from now on."""
    with _airflow():
        from airflow.sdk import Connection
        from airflow.sdk.exceptions import AirflowException

        try:
            return Connection.get(conn_id)
        except (AirflowException, PermissionError, ValueError) as error:
            cause = type(error).__name__
    raise UsageError(
        f"There is no connection {conn_id!r} that may be read ({cause}). Define it in Airflow (Admin, Connections), or "
        f"as AIRFLOW_CONN_{conn_id.upper()} in the environment: a URL or JSON."
    )


def _airflow() -> Any:
    """Around whatever imports Airflow: a process that Airflow did not start has not imported it yet."""
    return nullcontext() if "airflow" in sys.modules else plain_airflow()


def _options(extra: dict[str, Any]) -> dict[str, str]:
    """What drivers take: plain values, not blank."""
    plain = {key: value for key, value in sorted(extra.items()) if isinstance(value, str | int | float)}
    return {key: _text(value) for key, value in plain.items() if key not in _OF_HOOKS and value != ""}


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
