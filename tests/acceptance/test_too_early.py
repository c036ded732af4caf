"""Events that arrive before the git server shows their commits."""

from support.events import body
from support.repositories import SourceRepository
from support.service import environment, open_service, read_dead_letters, send, wait_settled

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import open_stack


async def test_a_push_that_the_server_shows_late_is_built_in_its_turn() -> None:
    """Waiting counts no attempt and delays only the push's own repository (I2, I5)."""
    async with open_stack(["web", "shop"]) as stack:
        shown, hidden, other = (
            SourceRepository(stack.directory / place)
            for place in ("remotes/web", "primary/web", "remotes/shop")
        )
        first = hidden.commit({"a": b"1"})
        shown.git("fetch", "--quiet", str(hidden.path), "+refs/heads/*:refs/heads/*")
        second, branch = hidden.commit({"a": b"2"}), hidden.commit({"b": b"1"}, branch="f")
        neighbour = other.commit({"c": b"1"})
        await send(stack, body(commitId=second, oldCommitId=first), "web")
        made = {"referenceName": "f", "referenceFullName": "refs/heads/f"}
        event = {"event": "referenceCreated", "oldCommitId": None}
        await send(stack, body(commitId=branch, **event, **made), "web")
        await send(stack, body(repositoryName="shop", commitId=neighbour, **event), "shop")
        variables = environment(stack, lanes={"max_attempts": 1})
        async with open_service(variables) as service:
            await service.wait_logged("push.built")
            await service.wait_logged("push.prepare.failed")
            assert [each.project for each in journal.read(stack.journal)] == ["shop"]
            shown.git("fetch", "--quiet", str(hidden.path), "+refs/heads/*:refs/heads/*")
            await wait_settled(stack)
        built = [each.variables["COMMIT_ID"] for each in journal.read(stack.journal)]
        assert built == [neighbour, second, branch]
        assert not await read_dead_letters(stack)
