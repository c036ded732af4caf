"""Keyring of secrets by reference: read at the start, read again in service, kept in memory.

They come from the environment, from a file (as container runtimes mount them) or from AWS Secrets
Manager, never from the configuration (I10). A secret that cannot be read again stays as it was.
"""

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import orjson

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.domain.errors import ConfigError, Reject, StageError
from asyncbuild.domain.events.service_events import SecretNotRenewed
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import open_background
from asyncbuild.runtime.write_all import write_all

if TYPE_CHECKING:
    from types_aiobotocore_secretsmanager import SecretsManagerClient

_REFRESH_SECONDS = 60.0


class Keyring:
    """Values of secret references, which `open_keyring` keeps fresh."""

    def __init__(self, files: ExitStack) -> None:
        self._values: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._files = files

    def value(self, reference: str) -> str:
        """Return a secret, without white space around it."""
        return self._values[reference].strip()

    def values(self, reference: str) -> tuple[str, ...]:
        """Return several secrets, one a line: the old and the new one while they are exchanged."""
        return tuple(line.strip() for line in self._values[reference].splitlines() if line.strip())

    def path(self, reference: str) -> str:
        """Return the path of a file with the secret, in this process's memory only.

        For programs that need a file's name.
        """
        return self.path_of(self._values[reference])

    def path_of(self, text: str) -> str:
        """Return the path of such a file with any text.

        It is readable by this user, on no disk, and disappears with this process.
        """
        if text not in self._paths:
            self._paths[text] = self._files.enter_context(_memory_file(text))
        return self._paths[text]

    def put(self, reference: str, value: str) -> None:
        """Store a value."""
        self._values[reference] = value


@contextmanager
def _memory_file(text: str) -> Iterator[str]:
    """Yield the path of a file that other processes of this user can open while it is open here."""
    with os.fdopen(os.memfd_create("asyncbuild"), "wb", buffering=0) as file:
        os.fchmod(file.fileno(), 0o600)  # OpenSSH refuses a key that others might read
        # It also refuses one whose last line does not end.
        write_all(file.write, f"{text.strip()}\n".encode())
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"


@asynccontextmanager
async def open_keyring(
    references: Iterable[str],
    aws: Aws,
    *,
    environment: Mapping[str, str] = os.environ,
    refresh_seconds: float = _REFRESH_SECONDS,
) -> AsyncIterator[Keyring]:
    """Read every secret; while inside, read those that can change again and again.

    Args:
        references: Secrets to read.
        aws: Session for Secrets Manager.
        environment: Environment variables.
        refresh_seconds: Pause between two rounds of reads.

    Raises:
        ConfigError: A secret is missing.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    wanted = list(dict.fromkeys(references))
    changing = [reference for reference in wanted if not reference.startswith("env:")]
    with ExitStack() as files:
        keyring = Keyring(files)
        for reference in wanted:
            keyring.put(reference, await read_secret(reference, aws, environment))
        if not changing:
            yield keyring
            return
        async with open_background() as tasks:
            tasks.start_soon(_refresh, keyring, changing, aws, refresh_seconds)
            yield keyring


async def _refresh(keyring: Keyring, references: Iterable[str], aws: Aws, seconds: float) -> None:
    while True:
        await anyio.sleep(seconds)
        for reference in references:
            try:
                keyring.put(reference, await read_secret(reference, aws))
            except StageError as error:
                emit(SecretNotRenewed(kind=error.kind, reason=str(error)))


async def read_secret(reference: str, aws: Aws, environment: Mapping[str, str] = os.environ) -> str:
    """Return one secret.

    Args:
        reference: Place of the secret, as in the configuration.
        aws: Session for Secrets Manager.
        environment: Environment variables.

    Raises:
        ConfigError: The secret is missing or empty.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    kind, _, place = reference.partition(":")
    match kind:
        case "env":
            value = environment.get(place, "")
        case "file":
            value = await _read_file(place)
        case _:
            value = await _ask(place, aws)
    if not value.strip():
        raise ConfigError(f"secret {reference} is not set, or empty", remedy="give it a value")
    return value


async def _read_file(path: str) -> str:
    try:
        return await anyio.Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"secret file:{path} cannot be read: {error.strerror}",
            remedy=f"make it a file that user {os.geteuid()}, who runs this, may read",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"secret file:{path} is not UTF-8 text") from error


async def _ask(place: str, aws: Aws) -> str:
    """Return the current version of a secret, or one key of a secret that is a JSON object."""
    name, _, key = place.partition("#")
    async with aws.open_secrets_manager(pool=1) as client:
        text = await _get(client, name)
    if not key:
        return text
    try:
        value = orjson.loads(text)
        found = value.get(key, "") if isinstance(value, dict) else ""
    except ValueError:
        found = ""
    if not isinstance(found, str):
        found = ""
    if not found:
        raise ConfigError(
            f"secret {name} has no text under the key {key!r}",
            remedy="store a JSON object with that key, or leave out # and the key",
        )
    return found


async def _get(client: "SecretsManagerClient", name: str) -> str:
    try:
        with errors_of(f"read secret {name}"):
            answer = await client.get_secret_value(SecretId=name)
    except Reject as error:
        raise ConfigError(
            error.reason,
            remedy="create it in this region, or correct its name in [[hosts]]",
            code=error.code,
        ) from error
    return answer.get("SecretString", "")
