"""Faults of the configuration, and of the resources that it names, as commands report them."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from support.service import environment, open_service

from asyncbuild.local.stack import Stack, open_stack

pytestmark = pytest.mark.timeout(400)
_COMMANDS = ["serve", "drain", "check"]


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Servers, queues, a bucket and one project."""
    async with open_stack(["web"]) as stack:
        yield stack


async def _end(variables: dict[str, str], *command: str) -> tuple[int, str]:
    """Return the exit code and all output of a command that ends by itself."""
    done = await anyio.run_process(
        [sys.executable, "-m", "asyncbuild", *command],
        stdin=subprocess.DEVNULL,
        env=variables,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def _make_queue(stack: Stack, name: str) -> str:
    attributes: Any = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    return (await stack.sqs.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"]


async def test_an_unusable_queue_exits_with_78(stack: Stack) -> None:
    """Each command finds it: standard, without a dead-letter queue, or missing."""
    for url, says in (
        (await _make_queue(stack, "standard"), "is not "),
        (await _make_queue(stack, "lonely.fifo"), "has no dead-letter queue"),
        (f"{stack.settings.queue.url}.gone", "AWS.SimpleQueueService.NonExistentQueue"),
    ):
        for command in _COMMANDS:
            code, said = await _end(environment(stack, queue={"url": url}), command)
            assert code == 78, said
            assert says in said
            assert "Traceback" not in said


async def test_a_missing_secret_exits_with_78(stack: Stack) -> None:
    """Each place where a secret may be is tried."""
    for token in ("env:NO_SUCH_TOKEN", "file:/nothing/here", "secretsmanager:no"):
        host = {"host": "github.com", "kind": "github", "token": token, "signature": "off"}
        variables = environment(stack)
        variables["ASYNCBUILD_HOSTS"] = orjson.dumps([host]).decode()
        for command in _COMMANDS:
            code, said = await _end(variables, command)
            assert code == 78, said
            assert token.partition(":")[2] in said


async def test_a_missing_bucket_is_reported_as_missing(stack: Stack) -> None:
    """HeadBucket's 404 has no text of its own."""
    variables = environment(stack, storage={"bucket": "asyncbuild-nothing"})
    code, said = await _end(variables, "check")
    assert code == 78, said
    assert "reach bucket asyncbuild-nothing: 404" in said
    assert "remedy: create it, or correct its name in the configuration" in said
    assert "see whether the endpoint can be reached" not in said


@pytest.mark.parametrize("command", [*_COMMANDS, "dead-letters"])
async def test_a_queue_of_another_region_names_both(tmp_path: Path, command: str) -> None:
    """The remedy is not "create it": the queue exists elsewhere.

    The profile sets the Region here.
    """
    profile = tmp_path / "config"
    profile.write_text("[profile build]\nregion = us-east-1\n")
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/pushes.fifo"
    variables = {name: text for name, text in os.environ.items() if name != "AWS_DEFAULT_REGION"}
    variables |= {
        "AWS_CONFIG_FILE": str(profile),
        "ASYNCBUILD_AWS__PROFILE": "build",
        "ASYNCBUILD_AWS__ENDPOINT_URL": "http://127.0.0.1:9",
        "ASYNCBUILD_AWS__MAX_TRIES": "1",
        "ASYNCBUILD_QUEUE__URL": url,
        "ASYNCBUILD_STORAGE__BUCKET": "sources",
        "ASYNCBUILD_GIT__CACHE_DIRECTORY": str(tmp_path / "cache"),
    }
    more = ["list"] if command == "dead-letters" else []
    code, said = await _end(variables, command, *more)
    assert code == 78, said
    assert f"the queue {url} is in eu-west-1, and calls go to us-east-1" in said
    assert 'set aws.region = "eu-west-1"' in said.replace('\\"', '"')  # a service logs it in JSON


@contextmanager
def _plain_port() -> Iterator[int]:
    """Yield a port that answers everything with a line of HTTP, and has no TLS."""

    def answer() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(4_096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


async def test_https_to_a_port_without_tls_is_named() -> None:
    """OpenSSL calls it WRONG_VERSION_NUMBER."""
    with _plain_port() as port:
        variables = {
            **os.environ,
            "ASYNCBUILD_AWS__ENDPOINT_URL": f"https://127.0.0.1:{port}",
            "ASYNCBUILD_AWS__MAX_TRIES": "1",
            "ASYNCBUILD_QUEUE__URL": f"https://127.0.0.1:{port}/1/pushes.fifo",
            "ASYNCBUILD_STORAGE__BUCKET": "sources",
        }
        code, said = await _end(variables, "dead-letters", "list")
    assert code == 69, said
    assert "remedy: what listens there does not speak TLS: begin endpoint_url with http://" in said


async def test_check_reports_traces_without_the_extra(stack: Stack, tmp_path: Path) -> None:
    """The service reports the same: `check` passes nothing that does not start."""
    hidden = tmp_path / "opentelemetry"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("")  # a package of that name without its parts
    variables = environment(stack, status={"traces": True})
    variables["PYTHONPATH"] = f"{tmp_path}:{variables.get('PYTHONPATH', '')}"
    for command in ("check", "serve"):
        code, said = await _end(variables, command)
        assert code == 78, said
        assert "status.traces is on, but OpenTelemetry is not installed" in said
        assert "asyncbuild[otel]" in said


async def test_a_doubtful_setting_is_reported_and_the_service_starts(
    stack: Stack, tmp_path: Path
) -> None:
    """`check` warns of it, `serve` logs it; both with the line."""
    path = tmp_path / "config.toml"
    path.write_text("\n[[rules]]\nref = 'origin/main'\naction = 'upload'\n")
    where = "line 3: rules[0]: ref 'origin/main' is the branch refs/heads/origin/main"
    variables = {**environment(stack), "ASYNCBUILD_CONFIG": str(path)}
    code, said = await _end(variables, "check", "--json")
    found = {each["name"]: each for each in orjson.loads(said)["findings"]}
    assert code == 1
    assert found["config.ref"]["level"] == "warning"
    assert found["config.ref"]["what"] == where
    async with open_service(variables) as service:
        await service.wait_logged("service.started")
        (told,) = [line for line in service.log if line["event"] == "config.doubt"]
        service.terminate()
        assert await service.wait() == 0
    assert told["reason"].startswith(where)
    assert '"refs/heads/main"' in told["remedy"]
