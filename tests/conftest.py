"""Fixtures and settings shared by all tests."""

import gc
import os
import signal
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiobotocore.httpsession import AIOHTTPSession
from botocore.httpsession import create_urllib3_context, where
from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from support.recorder import sitecustomize
from support.seaweedfs import open_seaweedfs
from support.servers import REGION, served

from asyncbuild.local.servers.children import (
    ACCESS_KEY,
    SECRET_KEY,
    LocalServer,
    open_ministack,
)

# A program that a shell starts in the background ignores Ctrl-C, under nohup a closed terminal,
# and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sitecustomize.install()  # in this process; its children install it themselves, see below

# A check of a change has the same result each time, on any machine; a search for new examples
# uses `--hypothesis-profile=search`. A slow machine is not a fault of the code under test.
_SLOW = [HealthCheck.too_slow]
settings.register_profile("search", deadline=None, suppress_health_check=_SLOW)
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=_SLOW)
# Each of some thousand mutants costs a run: fewer examples, the same for each, and no search for
# a shorter one where one fails.
settings.register_profile(
    "mutants",
    settings.get_profile("same"),
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("same")

_FOREIGN = ("AWS_", "ASYNCBUILD_", "GIT_")


def pytest_collection_finish() -> None:
    """Leave out of each collection of garbage what lives as long as the process: 5,000 tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Name of the loop: asyncio, which aioboto3 and aiohttp need."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Keep the developer's accounts, settings and git configuration out of each test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in tuple(os.environ):
            if name.startswith(_FOREIGN):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("GIT_TERMINAL_PROMPT", "0")
        if sitecustomize.DIRECTORY in os.environ:
            patch.setenv("PYTHONPATH", str(Path(sitecustomize.__file__).parent))
        yield


@pytest.fixture(scope="session", autouse=True)
def same_examples() -> Iterator[None]:
    """Make examples follow from the test alone.

    Hypothesis also tries constants that it finds in the source of our modules, as far as they are
    imported by then: others for each choice of tests, and for each worker.
    """
    with pytest.MonkeyPatch.context() as patch:
        if settings.get_current_profile_name() in {"same", "mutants"}:
            patch.setattr(providers, "_get_local_constants", Constants)
        yield


@pytest.fixture(scope="session", autouse=True)
def models_read_once() -> Iterator[None]:
    """Read each file of botocore's models once, not again for each session of each test.

    The clients of one session share them, too. Reading takes more than the rest of making a client.
    """
    read = JSONFileLoader.load_file

    @cache
    def load(path: str) -> Any:  # noqa: ANN401 - as botocore has it
        return read(JSONFileLoader(), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _self, path: load(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once() -> Iterator[None]:
    """Read the certificates of all authorities once, not again for each client of each test.

    A client with other certificates, a certificate of its own or a proxy reads them as ever.
    """
    session_class: Any = AIOHTTPSession
    make = session_class._create_connector

    @cache
    def context() -> ssl.SSLContext:
        made: ssl.SSLContext = create_urllib3_context()
        made.load_verify_locations(where())
        return made

    def create(session: Any, proxy_url: str | None) -> Any:  # noqa: ANN401 - as aiobotocore has it
        if session._verify is not True or session._cert_file or proxy_url:
            return make(session, proxy_url)
        limit = session._max_pool_connections
        return aiohttp.TCPConnector(limit=limit, ssl=context(), **session._connector_args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_class, "_create_connector", create)
        yield


@pytest.fixture(autouse=True)
def own_log() -> None:
    """Reset the log to that of a new process, rather than to streams of an earlier test."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def ministack(clean_environment: None) -> Iterator[LocalServer]:
    """Start one ministack for the whole session: SQS, S3, EventBridge, STS, CloudFormation."""
    with served(open_ministack) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs(clean_environment: None) -> Iterator[LocalServer]:
    """Start one SeaweedFS for the whole session: S3 with its rules."""
    with served(open_seaweedfs) as server:
        yield server
