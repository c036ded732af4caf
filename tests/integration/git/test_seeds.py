"""A task without a mirror begins from a seed: the right archive, or a clone; never a wrong one."""

import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import orjson
import pytest
from support.mirrors import KEY, TOKEN, archive_of, is_quiet
from support.proxy import closed_port
from support.repositories import SourceRepository
from support.seed_site import SeedSite, SeedTask
from support.wait import wait_until

from asyncbuild.config.sections import DISK_FREE_LEAST_BYTES
from asyncbuild.domain.errors import Retry
from asyncbuild.git.seeds.plans.seed_manifest import (
    SeedFile,
    SeedManifest,
    decode_manifest,
    encode_manifest,
)

Damage = Callable[[SeedSite], Awaitable[None]]


async def write_seed(seeds: SeedSite, *, packs: int = 1, **changes: Any) -> str:  # noqa: ANN401 - any of [git]
    """Fetch commits of `web` with a task of its own, wait for its seed, and return the last one."""
    source, commit = seeds.site.source, ""
    for number in range(1, packs + 1):
        commit = source.commit({f"{number}": os.urandom(300_000 // number)})
        async with seeds.open_task("writer", seeds=number == packs, **changes) as task:
            await archive_of(task.mirrors, commit)
            if number == packs:
                await task.wait_told("seed.written")
    return commit


async def read_manifest(seeds: SeedSite) -> SeedManifest:
    """Return the manifest in the bucket."""
    return decode_manifest(await seeds.read(seeds.manifest), seeds.repository)


async def test_a_task_begins_from_the_seed_of_another(seeds: SeedSite) -> None:
    """Otherwise each new task clones each repository."""
    source = seeds.site.source
    await write_seed(seeds)
    newer = source.commit({"b": b"newer\n"})
    async with seeds.open_task("taker") as task:
        assert await archive_of(task.mirrors, newer) == source.archive(newer)
        assert task.sources == ["seed"]
        assert task.told("seed.refused") == []


@pytest.mark.parametrize("depth", [0, 1, 3])
async def test_shallow_and_whole_mirrors_are_seeds(seeds: SeedSite, depth: int) -> None:
    """Boundaries of history come along: git would miss the parents, or fetch all of them again."""
    source = seeds.site.source
    source.commits(5)
    older = await write_seed(seeds, packs=2, depth=depth)
    newer = source.commit({"b": b"newer\n"})
    async with seeds.open_task("taker", depth=depth) as task:
        for commit in (newer, older):
            assert await archive_of(task.mirrors, commit) == source.archive(commit)
        assert task.sources == ["seed"]
        mirror = task.place.repository
        assert (mirror / "shallow").exists() == bool(depth)
    source.git("--git-dir", str(mirror), "fsck", "--connectivity-only")


async def test_a_repository_of_sha256_objects(seeds: SeedSite) -> None:
    """The object format is part of the manifest; indexes have longer hashes."""
    seeds.site.source.path.rename(seeds.site.source.path.with_name("old"))
    source = SourceRepository(seeds.site.source.path, object_format="sha256")
    seeds.site.source = source
    await write_seed(seeds)
    assert (await read_manifest(seeds)).object_format == "sha256"
    newer = source.commit({"b": b"newer"})
    async with seeds.open_task("taker") as task:
        assert await archive_of(task.mirrors, newer) == source.archive(newer)
        assert task.sources == ["seed"]


async def change_manifest(seeds: SeedSite, **changes: Any) -> None:  # noqa: ANN401 - any field
    """Replace the manifest by a sound one with other contents."""
    await seeds.write(
        seeds.manifest, encode_manifest(replace(await read_manifest(seeds), **changes))
    )


async def largest(seeds: SeedSite, ending: str) -> str:
    """Return the key of the largest pack or index of the manifest."""
    first = max((await read_manifest(seeds)).packs, key=lambda each: each.pack.size_bytes)
    file = first.pack if ending == "pack" else first.index
    return f"{seeds.prefix}pack/{file.sha256}.{ending}"


async def truncate_pack(seeds: SeedSite) -> None:
    """Cut the last byte off."""
    key = await largest(seeds, "pack")
    await seeds.write(key, (await seeds.read(key))[:-1])


async def lengthen_index(seeds: SeedSite) -> None:
    """Add a byte."""
    key = await largest(seeds, "idx")
    await seeds.write(key, await seeds.read(key) + b"x")


async def change_pack(seeds: SeedSite) -> None:
    """Turn a byte in the middle."""
    key = await largest(seeds, "pack")
    body = bytearray(await seeds.read(key))
    body[len(body) // 2] ^= 1
    await seeds.write(key, bytes(body))


async def delete_index(seeds: SeedSite) -> None:
    """Delete an index that the manifest names."""
    await seeds.client.delete_object(Bucket=seeds.bucket, Key=await largest(seeds, "idx"))


async def swap_pairs(seeds: SeedSite) -> None:
    """Exchange the indexes of two packs, in a manifest whose hashes are right."""
    first, second, *rest = (await read_manifest(seeds)).packs
    swapped = (replace(first, index=second.index), replace(second, index=first.index), *rest)
    await change_manifest(seeds, packs=swapped)


async def name_no_pack(seeds: SeedSite) -> None:
    """Store other bytes as a pack, under a manifest that names their hash."""
    body = b"no pack at all, but its hash is right"
    digest = hashlib.sha256(body).hexdigest()
    await seeds.write(f"{seeds.prefix}pack/{digest}.pack", body)
    first, *rest = (await read_manifest(seeds)).packs
    file = SeedFile(digest, len(body))
    await change_manifest(seeds, packs=(replace(first, pack=file), *rest))


async def name_another_repository(seeds: SeedSite) -> None:
    """Leave the manifest of another repository here."""
    await change_manifest(seeds, repository="123456789012/eu-west-1/other")


async def break_manifest(seeds: SeedSite) -> None:
    """Cut the manifest."""
    await seeds.write(seeds.manifest, (await seeds.read(seeds.manifest))[:-20])


async def forget_pack(seeds: SeedSite) -> None:
    """Leave the largest pack out of the manifest: refs lead to objects that are not there."""
    _first, *rest = (await read_manifest(seeds)).packs
    await change_manifest(seeds, packs=tuple(rest))


async def point_refs_nowhere(seeds: SeedSite) -> None:
    """Let every ref point at an object that does not exist."""
    refs = (await read_manifest(seeds)).refs
    await change_manifest(seeds, refs=dict.fromkeys(refs, "12" * 20))


DAMAGES = (
    *(truncate_pack, lengthen_index, change_pack, delete_index, swap_pairs, name_no_pack),
    *(name_another_repository, break_manifest, forget_pack),
    point_refs_nowhere,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
async def test_a_damaged_seed_is_as_if_there_were_none(seeds: SeedSite, damage: Damage) -> None:
    """The archive is right, the mirror sound, the log says why, and the next seed is good again."""
    source = seeds.site.source
    older = await write_seed(seeds, packs=2)
    await damage(seeds)
    newest = source.commit({"c": b"newest"})
    async with seeds.open_task("taker") as task:
        for commit in (newest, older):
            assert await archive_of(task.mirrors, commit) == source.archive(commit)
        assert task.sources[-1] == "clone"
        assert task.told("seed.refused")
        source.git("--git-dir", str(task.place.repository), "fsck", "--connectivity-only")
        await task.wait_told("seed.written")
    async with seeds.open_task("third") as task:
        assert await archive_of(task.mirrors, newest) == source.archive(newest)
        assert task.sources == ["seed"]


async def test_a_seed_of_another_object_format(seeds: SeedSite) -> None:
    """A repository that was made again with other objects is cloned."""
    source, root = seeds.site.source, seeds.site.server.root
    await write_seed(seeds)
    source.path.rename(root / "old")
    again = SourceRepository(root / "web", object_format="sha256")
    commit = again.commit({"a": b"again"})
    async with seeds.open_task("taker") as task:
        assert await archive_of(task.mirrors, commit) == again.archive(commit)
        assert task.sources == ["clone"]
        assert "sha1" in task.told("seed.refused")[0].reason
        await task.wait_told("seed.written")
    assert (await read_manifest(seeds)).object_format == "sha256"


async def test_a_seed_older_than_a_force_push(seeds: SeedSite) -> None:
    """History that was replaced is a base for git, and its archives stay right."""
    source = seeds.site.source
    old = await write_seed(seeds)
    new = source.commit({"b": os.urandom(300_000)}, parent=None)
    async with seeds.open_task("taker") as task:
        for commit in (new, old):
            assert await archive_of(task.mirrors, commit) == source.archive(commit)
        assert task.sources == ["seed"]


async def test_a_withdrawn_right_is_not_replaced_by_a_seed(seeds: SeedSite) -> None:
    """The git server decides who may read a repository, also of what the bucket has."""
    commit = await write_seed(seeds)
    seeds.site.server.keys = {KEY: ("another secret", TOKEN)}
    async with seeds.open_task("taker") as task:
        with pytest.raises(Retry, match="codecommit:GitPull"):
            await archive_of(task.mirrors, commit)
        assert task.sources == []
        assert not task.place.is_whole()


async def test_an_outage_of_s3_delays_no_push_for_long(seeds: SeedSite) -> None:
    """Without a bucket the mirror is cloned."""
    source = seeds.site.source
    commit = source.commit({"a": b"1"})
    with closed_port() as port:
        seeds.endpoint_url = f"http://127.0.0.1:{port}"
        async with seeds.open_task("taker") as task:
            assert await archive_of(task.mirrors, commit) == source.archive(commit)
            assert task.sources == ["clone"]
            await task.wait_told("seed.not-written")


async def test_two_tasks_write_at_once(seeds: SeedSite) -> None:
    """One manifest wins, whole; what the other has sent is found by its content, or deleted."""
    source = seeds.site.source
    commit = source.commit({"a": os.urandom(300_000)})
    async with seeds.open_task("one") as one, seeds.open_task("two") as two:
        async with anyio.create_task_group() as tasks:
            for task in (one, two):
                tasks.start_soon(archive_of, task.mirrors, commit)
        await wait_until(lambda: bool(one.told("seed.written") or two.told("seed.written")))
        await wait_until(lambda: not (one.is_writing or two.is_writing))
        assert one.told("seed.not-written") == two.told("seed.not-written") == []
    newer = source.commit({"b": b"newer"})
    async with seeds.open_task("taker") as task:
        assert await archive_of(task.mirrors, newer) == source.archive(newer)
        assert task.sources == ["seed"]


async def test_two_tasks_take_at_once(seeds: SeedSite) -> None:
    """Nothing of a seed is held by one of them."""
    source = seeds.site.source
    await write_seed(seeds, packs=2)
    newer = source.commit({"b": b"newer"})
    archives = []

    async def take(task: SeedTask) -> None:
        archives.append(await archive_of(task.mirrors, newer))
        assert set(task.sources) == {"seed"}

    async with (
        seeds.open_task("one") as one,
        seeds.open_task("two") as two,
        anyio.create_task_group() as tasks,
    ):
        for task in (one, two):
            tasks.start_soon(take, task)
    assert archives == [source.archive(newer)] * 2


async def test_a_pack_is_sent_once(seeds: SeedSite) -> None:
    """Later seeds of a mirror add what is new; packs that no manifest names are deleted."""
    source = seeds.site.source
    await write_seed(seeds)
    manifest = await read_manifest(seeds)
    old = replace(manifest, written_at=manifest.written_at - timedelta(days=1))
    await seeds.write(seeds.manifest, encode_manifest(old))
    commit = source.commit({"b": os.urandom(200_000)})
    async with seeds.open_task("taker") as task:
        await archive_of(task.mirrors, commit)
        assert task.sources == ["seed"]
        written = await task.wait_told("seed.written")
    assert written.packs == 2
    assert 200_000 < written.sent_bytes < 250_000
    assert written.size_bytes > 500_000
    assert (await read_manifest(seeds)).packs[0] == manifest.packs[0]


async def test_a_mirror_that_goes_while_it_is_written_leaves_the_seed(seeds: SeedSite) -> None:
    """An upload holds neither locks nor space: the budget of the disk counts on what it frees."""
    source = seeds.site.source
    commit = source.commit({"a": os.urandom(300_000)})
    async with seeds.open_task("writer", seed_bytes_per_second=300_000) as task:
        await archive_of(task.mirrors, commit)
        await wait_until(lambda: task.is_writing and task.holds_packs)
        await task.mirrors._upkeep.make_room()
        assert not task.place.is_whole()
        await wait_until(lambda: not task.is_writing)
        assert not task.holds_packs
        assert task.told("seed.written") == task.told("seed.not-written") == []
        assert seeds.manifest not in await seeds.keys()
        assert await archive_of(task.mirrors, commit) == source.archive(commit)


async def test_a_seed_makes_room_in_the_cache_before_it_is_taken(seeds: SeedSite) -> None:
    """Least recently used mirrors go, as for a clone; one larger than the whole cache is cloned."""
    source = seeds.site.source
    commit = await write_seed(seeds)
    other = SourceRepository(seeds.site.server.root / "other")
    async with seeds.open_task("taker", cache_budget_bytes=500_000) as task:
        await archive_of(task.mirrors, other.commit({"a": os.urandom(400_000)}), name="other")
        assert await archive_of(task.mirrors, commit) == source.archive(commit)
        assert task.sources == ["clone", "seed"]
        assert sum(each.mirrors for each in task.told("mirrors.evicted")) == 1
    async with seeds.open_task("small", cache_budget_bytes=200_000) as task:
        assert await archive_of(task.mirrors, commit) == source.archive(commit)
        assert task.sources == ["clone"]
        assert "cache_budget_bytes" in task.told("seed.refused")[0].reason


@pytest.mark.parametrize(
    "changes",
    [{"seed_exclude": ["123456789012/*"]}, {"seed_min_bytes": 1_000_000}, {"seeds": False}],
)
async def test_mirrors_without_seeds(seeds: SeedSite, changes: dict[str, Any]) -> None:
    """Excluded, small, or switched off: nothing is written."""
    source = seeds.site.source
    commit = source.commit({"a": os.urandom(300_000)})
    async with seeds.open_task("writer", **changes) as task:
        assert await archive_of(task.mirrors, commit) == source.archive(commit)
        await wait_until(lambda: is_quiet(task.mirrors) and not task.is_writing)
    assert await seeds.keys() == []


async def test_a_full_disk_takes_no_seed(seeds: SeedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clone finds out whether there is room for it, and evicts; a seed asks before."""
    source = seeds.site.source
    commit = await write_seed(seeds)
    full = shutil.disk_usage("/")._replace(free=DISK_FREE_LEAST_BYTES + 300_000)
    async with seeds.open_task("taker") as task:
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
        assert await archive_of(task.mirrors, commit) == source.archive(commit)
        assert task.sources == ["clone"]
        assert "no room" in task.told("seed.refused")[0].reason


async def test_a_manifest_of_a_newer_version_stays(seeds: SeedSite) -> None:
    """Old tasks beside new ones clone, and leave the seeds of new ones alone."""
    source = seeds.site.source
    commit = await write_seed(seeds)
    told = orjson.loads(await seeds.read(seeds.manifest))
    del told["digest"]
    told |= {"version": 2, "packs": "as a later version has them"}
    signed = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    newer = orjson.dumps(told | {"digest": hashlib.sha256(signed).hexdigest()})
    await seeds.write(seeds.manifest, newer)
    async with seeds.open_task("taker") as task:
        assert await archive_of(task.mirrors, commit) == source.archive(commit)
        await wait_until(lambda: is_quiet(task.mirrors) and not task.is_writing)
        assert task.sources == ["clone"]
        assert task.told("seed.refused") == task.told("seed.written") == []
    assert await seeds.read(seeds.manifest) == newer


async def test_a_seed_of_many_refs_has_the_newest(seeds: SeedSite) -> None:
    """The manifest stays small enough to be read; refs that it lacks only make fetches larger."""
    commit = seeds.site.source.commit({"a": os.urandom(300_000)})
    async with seeds.open_task("writer", seeds=False) as task:
        await archive_of(task.mirrors, commit)
    packed = "".join(f"{commit} refs/asyncbuild/refs/{n:040x}\n" for n in range(10_050))
    (task.place.repository / "packed-refs").write_text(packed)
    newer = seeds.site.source.commit({"b": b"b"})
    async with seeds.open_task("writer") as task:
        await archive_of(task.mirrors, newer)
        await task.wait_told("seed.written")
    refs = (await read_manifest(seeds)).refs
    assert len(refs) == 10_000
    assert newer in refs.values()


async def test_a_damaged_mirror_is_not_written(seeds: SeedSite) -> None:
    """Its damage would spread to every new task; the mirror is examined, and made again."""
    source = seeds.site.source
    old = source.commit({"a": os.urandom(300_000)})
    async with seeds.open_task("writer", seeds=False) as task:
        await archive_of(task.mirrors, old)
    (pack,) = task.place.repository.glob("objects/pack/*.pack")
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(100_000)
        file.write(bytes(8))
    newer = source.commit({"a": None, "b": b"b"})  # no archive of it meets the damage
    async with seeds.open_task("writer") as task:
        assert await archive_of(task.mirrors, newer) == source.archive(newer)
        told = await task.wait_told("seed.not-written")
        assert "damaged" in told.reason
        assert await seeds.keys() == []
        assert await archive_of(task.mirrors, newer) == source.archive(newer)
        assert len(task.told("mirror.renewed")) == 1
