"""Object storage for the tests of sources: a server of its own, that needs no installation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import fsspec
import pytest
from fsspec import AbstractFileSystem
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_bucket(s3_server: str) -> Callable[[], tuple[AbstractFileSystem, str]]:
    """Each call makes an empty bucket: its file system, and its URL."""
    names = (f"bucket{number}" for number in count(1))

    def make() -> tuple[AbstractFileSystem, str]:
        client = {"endpoint_url": s3_server, "region_name": "eu-central-1"}
        files = fsspec.filesystem("s3", key="testing", secret="not a secret", client_kwargs=client)
        name = next(names)
        files.mkdir(name)
        return files, f"s3://{name}"

    return make
