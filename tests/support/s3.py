"""An S3 server in the test process, and buckets in it."""

import logging
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Yields the address of an S3 server in this process, for tests that put it into their environment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_variables() -> Callable[[str], dict[str, str]]:
    """Returns a function from a server's address to the environment variables with which S3 clients find it."""

    def variables(address: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    return variables


@pytest.fixture
def s3_bucket(
    s3_variables: Callable[[str], dict[str, str]], s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Yields the URL of an empty bucket, which this process and its children find through their environment."""
    import s3fs

    for name, value in s3_variables(s3_server).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    url = f"s3://rded-{uuid4().hex}"
    s3fs.S3FileSystem().mkdir(url)
    yield url
    s3fs.S3FileSystem.clear_instance_cache()
