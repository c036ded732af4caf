"""A monorepo by rules: untouched projects are not built, and the reason can be found."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from support.archives import members_of_zip
from support.repositories import SourceRepository
from support.service import environment, open_service, wait_settled
from support.wait import wait_until

from asyncbuild.local.forge.hosting import open_hosting, status_of
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.workload import PushedRepository

pytestmark = pytest.mark.timeout(400)
_MAIN = "refs/heads/main"
_RULES = [
    {
        "name": "api",
        "action": "build",
        "project": "shop-api",
        "changes": ["services/api", "libs"],
        "subtree": "services/api",
        "final": False,
    },
    {
        "name": "web",
        "action": "build",
        "project": "shop-web",
        "changes": ["services/web", "libs", ":!libs/server-only"],
        "paths": ["services/web", "libs"],
    },
]


async def _explain(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return every record of the repository, the newest last."""
    async with open_service(variables, "explain", "shop", "--json", "-n", "50") as service:
        text = await service.read()
        assert await service.wait() == 0
    return [orjson.loads(line) for line in text.splitlines()]


async def _archive(stack: Stack, location: str) -> set[str]:
    """Return the names in an archive that a build was started on."""
    key = location.removeprefix(f"{BUCKET}/")
    answer = await stack.s3.get_object(Bucket=BUCKET, Key=key)
    async with answer["Body"] as stream:
        return {name for name in members_of_zip(await stream.read()) if not name.endswith("/")}


async def test_only_touched_projects_are_built() -> None:
    """Each push in turn: both, one, the other, none, by its difference to the old commit."""
    pushes: list[tuple[dict[str, bytes | None], set[str]]] = [
        ({"services/api/a": b"1", "services/web/w": b"1", "libs/l": b"1"}, {"api", "web"}),
        ({"services/api/a": b"2"}, {"api"}),
        ({"README": b"1", "docs/d": b"1"}, set()),
        ({"services/web/w": b"2", "README": b"2"}, {"web"}),
        ({"libs/server-only/s": b"1"}, {"api"}),
        ({"libs/l": None, "libs/m": b"1"}, {"api", "web"}),
        ({"other": b"1"}, set()),
    ]
    async with open_stack(["shop-api", "shop-web"]) as stack:
        remote = PushedRepository("shop", stack.directory / "remotes" / "shop")
        source = SourceRepository(remote.directory)
        variables = environment(stack, rules=_RULES)
        expected: dict[str, set[str]] = {}
        old: str | None = None
        async with open_service(variables) as service:
            for files, rules in pushes:
                commit = source.commit(files)
                push = remote.pushed(_MAIN, commit, old)
                await stack.send(push)
                await wait_settled(stack)
                expected[push.id] = rules
                old = commit
            service.terminate()
            assert await service.wait() == 0
        started: dict[str, set[str]] = {event_id: set() for event_id in expected}
        builds = journal.read(stack.journal)
        for build in builds:
            started[build.variables["EVENT_ID"]].add(build.project.removeprefix("shop-"))
        assert expected == started
        assert {"a"} == await _archive(stack, builds[0].location)
        assert {"services/web/w", "libs/l"} == await _archive(stack, builds[1].location)

        records = await _explain(variables)
        for event_id, rules in expected.items():
            own = [record for record in records if record["event_id"] == event_id]
            verdicts = {record["verdict"] for record in own}
            assert verdicts == ({"built"} if rules else {"ignored"})
            if not rules:
                (record,) = own
                assert "nothing changed in services/api, libs (rule api)" in record["reason"]
                assert "(rule web)" in record["reason"]


async def test_what_is_left_out_is_green_on_the_forge() -> None:
    """A status that is required for a project does not stay pending: it says what was skipped."""
    async with (
        open_stack(["shop-api", "shop-web"]) as stack,
        open_hosting(stack, ["shop"]) as hosting,
    ):
        remote = PushedRepository("shop", stack.directory / "remotes" / "shop")
        source = SourceRepository(remote.directory)
        first = source.commit({"services/api/a": b"1", "services/web/w": b"1", "libs/l": b"1"})
        second = source.commit({"services/api/a": b"2"})
        third = source.commit({"docs/d": b"1"})
        settings = hosting.cloud.settings
        more = {
            name: getattr(settings, name).model_dump(mode="json", exclude_defaults=True)
            for name in ("results", "reports")
        }
        hosts = [each.model_dump(mode="json", exclude_unset=True) for each in settings.hosts]
        variables = environment(hosting.cloud, rules=_RULES, hosts=hosts, **more)
        async with open_service(variables) as service:
            for commit, old in zip([first, second, third], [None, first, second], strict=True):
                await hosting.send(remote.pushed(_MAIN, commit, old))
                await wait_settled(stack)
            await wait_until(lambda: len(hosting.forge.statuses) == 6)
            service.terminate()
            assert await service.wait() == 0
        shown = {at: each.description for at, each in hosting.forge.statuses.items()}
        api, web = (
            "nothing changed in services/api, libs",
            "nothing changed in services/web, libs",
        )
        assert shown == {
            status_of("shop", first, "shop-api"): "started",
            status_of("shop", first, "shop-web"): "started",
            status_of("shop", second, "shop-api"): "started",
            status_of("shop", second, "shop-web"): f"skipped: {web}, :!libs/server-only",
            status_of("shop", third, "shop-api"): f"skipped: {api}",
            status_of("shop", third, "shop-web"): f"skipped: {web}, :!libs/server-only",
        }


async def test_a_branch_without_a_known_commit_is_built() -> None:
    """Changes are unknown without an old commit, or with a deleted one."""
    async with open_stack(["shop-api", "shop-web"]) as stack:
        remote = PushedRepository("shop", stack.directory / "remotes" / "shop")
        source = SourceRepository(remote.directory)
        commit = source.commit({"services/api/a": b"1", "services/web/w": b"1", "libs/l": b"1"})
        await stack.send(remote.pushed(_MAIN, commit, None))
        other = source.commit({"docs/d": b"2"})
        await stack.send(remote.pushed(_MAIN, other, "1" * 40))
        variables = environment(stack, rules=_RULES)
        async with open_service(variables, "drain") as service:
            assert await service.wait() == 0
        built = [
            (each.project, each.variables["COMMIT_ID"]) for each in journal.read(stack.journal)
        ]
        both = ("shop-api", "shop-web")
        assert [(name, each) for each in (commit, other) for name in both] == built
