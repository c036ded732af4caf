"""One push with several targets: each is settled independently."""

from collections.abc import AsyncIterator

import orjson
import pytest
from support.events import body
from support.repositories import SourceRepository
from support.service import environment, open_service, read_dead_letters, send

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import Stack, open_stack

_RULES = [
    {"action": "build", "project": "api", "subtree": "api", "final": False, "key": "a/{commit}"},
    {"action": "build", "project": ["missing", "web"]},
]


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Open a stack with the projects that exist."""
    async with open_stack(["web", "api"]) as stack:
        yield stack


def _built(stack: Stack) -> list[str | None]:
    return [each.project for each in journal.read(stack.journal)]


async def test_a_target_that_cannot_be_built_leaves_the_others_alone(stack: Stack) -> None:
    """Working targets are built once, even if the dead letter is sent back (I12)."""
    commit = SourceRepository(stack.directory / "remotes" / "web").commit({"a": b"1"})
    variables = environment(stack, rules=_RULES)
    await send(stack, body(commitId=commit, oldCommitId=None), "web")
    async with open_service(variables, "drain") as service:
        assert await service.wait() == 0
    assert _built(stack) == ["web"]
    async with open_service(variables, "dead-letters", "send-back", "--all") as service:
        assert await service.wait() == 0
    async with open_service(variables, "drain") as service:
        assert await service.wait() == 0
    assert _built(stack) == ["web"]
    (letter,) = await read_dead_letters(stack)
    reason = letter["MessageAttributes"]["Reason"]["StringValue"]
    assert "build api: " in reason
    assert "has no directory 'api'" in reason
    assert "build missing: CodeBuild project missing does not exist" in reason
    async with open_service(variables, "explain", "web", "--json") as service:
        records = [orjson.loads(line) for line in (await service.read()).splitlines()]
    assert {record["verdict"] for record in records} == {"built", "rejected"}
