"""Repositories that get pushed to, and the event CodeCommit would send for each push.

These are made up: their stories are below. `replay.py` pushes the last commits of clones. Every
push goes into a bare repository under one directory; the service's `git.remote` points there.
"""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from asyncbuild.domain.rules.rule_keys import escape_key
from asyncbuild.local.content import Changes, File, Files, initial_tree, next_changes
from asyncbuild.local.expected_tree import run_git
from asyncbuild.local.servers.served import ACCOUNT, REGION
from asyncbuild.local.verify import Expects, Pushed

# One word is one push: `main` commits on the branch (made from main if it is new) and pushes it,
# `#v1` pushes a tag, `-topic` deletes the branch once its last push is built.
STORIES: Mapping[str, str] = {
    "storefront": (
        "main main develop feature/basket main feature/basket develop main feature/basket "
        "#v1.0 main fix/rounding main -fix/rounding develop main main main main"
    ),
    "payments": "main develop main release/2.4 main release/2.4 #v2.4.0 main staging main main",
    "search": "main feature/fuzzy main feature/fuzzy feature/fuzzy main -feature/fuzzy main main",
    "firmware": "main test main bring-up/rev-b main bring-up/rev-b main main",
    "handbook": "main übersetzung main übersetzung develop main übersetzung main",
}
_ASSETS_BYTES: Mapping[str, int] = {"firmware": 16_000_000}  # archives are made of older ones
_UPLOADED_ONLY = frozenset({"test", "develop", "staging"})
_EPOCH = 1_790_000_000  # commits count their seconds from here: equal seeds, equal commit ids
_NAMES = uuid.UUID("8f0e6a52-7c5e-4c1b-9d5a-3f1f0a6b7c11")

WaitBuilt = Callable[[Pushed], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PushedRepository:
    """A bare repository that is pushed to."""

    name: str
    directory: Path

    @property
    def id(self) -> str:
        """CodeCommit's repositoryId: the message group."""
        return str(uuid.uuid5(_NAMES, self.name))

    def pushed(self, ref: str, commit: str | None, old_commit: str | None) -> Pushed:
        """Return the push that moved `ref` just now.

        Args:
            ref: Full name of the ref.
            commit: Its commit; None if it was deleted.
            old_commit: Its commit before; None if it was created.
        """
        branch = ref.split("/", 2)[2]
        return Pushed(
            id=str(uuid.uuid4()),
            group=self.id,
            repository=self.name,
            ref=ref,
            commit=commit,
            directory=self.directory,
            time=time.time(),
            expects=expected_of(ref, commit),
            key=f"{self.name}/{escape_key(branch)}/{commit}.zip",
            old_commit=old_commit,
        )


def expected_of(ref: str, commit: str | None) -> Expects:
    """Return the result by the default rules: build every branch but three for deployment."""
    if commit is None or not ref.startswith("refs/heads/"):
        return Expects.NOTHING
    return Expects.UPLOAD if ref.removeprefix("refs/heads/") in _UPLOADED_ONLY else Expects.BUILD


def event_of(push: Pushed) -> dict[str, Any]:
    """Return the EventBridge event for `push`.

    Source: CodeCommit User Guide, "Monitoring CodeCommit events".
    """
    _, kind, name = push.ref.split("/", 2)
    if push.commit is None:
        change = "referenceDeleted"
    else:
        change = "referenceUpdated" if push.old_commit else "referenceCreated"
    detail = {
        "callerUserArn": f"arn:aws:iam::{ACCOUNT}:user/developer",
        "event": change,
        "repositoryName": push.repository,
        "repositoryId": push.group,
        "referenceType": "branch" if kind == "heads" else "tag",
        "referenceName": name,
        "referenceFullName": push.ref,
        "commitId": push.commit,
        "oldCommitId": push.old_commit,
    }
    return {
        "version": "0",
        "id": push.id,
        "detail-type": "CodeCommit Repository State Change",
        "source": "aws.codecommit",
        "account": ACCOUNT,
        "time": datetime.fromtimestamp(push.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:codecommit:{REGION}:{ACCOUNT}:{push.repository}"],
        "detail": {name: value for name, value in detail.items() if value is not None},
    }


@dataclass(slots=True)
class SampleRepository:
    """A made-up repository: a clone that commits and pushes, word by word."""

    remote: PushedRepository
    clone: Path
    words: Sequence[str]
    random: Random
    modules: int = 60
    _tips: dict[str, str] = field(default_factory=dict)
    _files: dict[str, Files] = field(default_factory=dict)
    _last: dict[str, Pushed] = field(default_factory=dict)
    _commits: int = 0

    @classmethod
    async def create(
        cls, directory: Path, name: str, words: Sequence[str], *, seed: int
    ) -> "SampleRepository":
        """Make the bare repository and its clone, both empty.

        Args:
            directory: Directory of all repositories.
            name: Name of the repository.
            words: Story, one word for each push; see `STORIES`.
            seed: Seed of the contents.
        """
        remote, clone = directory / "remotes" / name, directory / "clones" / name
        await run_git("init", "--quiet", "--bare", "--initial-branch=main", str(remote))
        await run_git("init", "--quiet", "--bare", "--initial-branch=main", str(clone))
        return cls(PushedRepository(name, remote), clone, words, Random(f"{seed}/{name}"))  # noqa: S311 - repeatable, not secret

    @property
    def length(self) -> int:
        """Number of pushes."""
        return len(self.words)

    async def iter_pushes(self, wait_built: WaitBuilt) -> AsyncIterator[Pushed]:
        """Push, word by word, each time the next push is requested."""
        for word in self.words:
            if word.startswith("#"):
                ref = f"refs/tags/{word[1:]}"
                yield await self._push(ref, self._tips["main"], None)
            elif word.startswith("-"):
                ref = f"refs/heads/{word[1:]}"
                await wait_built(self._last[ref])
                yield await self._push(ref, None, self._tips.pop(word[1:]))
            else:
                old = self._tips.get(word)
                commit = await self._commit(word)
                yield await self._push(f"refs/heads/{word}", commit, old)

    async def _push(self, ref: str, commit: str | None, old_commit: str | None) -> Pushed:
        await run_git(
            "push", "--quiet", str(self.remote.directory), f"{commit or ''}:{ref}",
            directory=self.clone,
        )  # fmt: skip
        self._last[ref] = self.remote.pushed(ref, commit, old_commit)
        return self._last[ref]

    async def _commit(self, branch: str) -> str:
        base = branch if branch in self._tips else "main"
        parent = self._tips.get(base)
        changes: Changes
        if parent is None:
            name = self.remote.name
            assets_bytes = _ASSETS_BYTES.get(name, 0)
            changes = initial_tree(
                self.random, name, modules=self.modules, assets_bytes=assets_bytes
            )
            files: Files = {}
        else:
            files = dict(self._files[base])
            changes = next_changes(self.random, files)
        self._commits += 1
        stream = _fast_import(branch, changes, parent, number=self._commits)
        told = await run_git("fast-import", "--quiet", directory=self.clone, given=stream)
        self._tips[branch] = told.decode().strip()
        self._files[branch] = _apply(files, changes)
        return self._tips[branch]


def _apply(files: Files, changes: Changes) -> Files:
    changed: dict[str, File | None] = {**files, **changes}
    return {path: file for path, file in changed.items() if file is not None}


def _fast_import(branch: str, changes: Changes, parent: str | None, *, number: int) -> bytes:
    """Return one commit for git-fast-import, which prints its id (`get-mark`).

    Args:
        branch: Name of the branch.
        changes: Changes of the commit.
        parent: Id of the parent; None for the first commit.
        number: Number of the commit, which sets its time.
    """
    message = f"Change {len(changes)} files\n".encode()
    lines = [
        b"commit refs/heads/" + branch.encode(),
        b"mark :1",
        b"committer Demo <demo@example.com> %d +0000" % (_EPOCH + number),
        b"data %d\n%s" % (len(message), message),
    ]
    if parent is not None:
        lines.append(b"from " + parent.encode())
    for path, file in changes.items():
        if file is None:
            lines.append(b"D " + path.encode())
        else:
            mode, content = file
            lines.append(b"M %o inline %s" % (mode, path.encode()))
            lines.append(b"data %d\n%s" % (len(content), content))
    return b"\n".join([*lines, b"get-mark :1", b"done", b""])
