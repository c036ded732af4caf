"""Payloads that other projects keep for their tests, each read as what it is.

`python -m support.foreign_payloads [DIRECTORY]` fetches those projects without a work tree, or
reads what an earlier call left in the directory, and prints a table of counts. Nothing of them is
kept in this project. The name of a file or folder says which event its payload is of; that is
compared with what is read from the body alone. The last line is one JSON object; a mistake ends
with 1.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson
from support.webhooks import message

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Nothing, Push
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.dialect import Payload
from asyncbuild.forges.webhooks.dialects import read_payload
from asyncbuild.forges.webhooks.senders import Host, MessageReader, Signature

_PROJECTS: Final = (
    "octokit/webhooks",
    "drone/go-scm",
    "woodpecker-ci/woodpecker",
    "argoproj/argo-cd",
    "tektoncd/pipelines-as-code",
    "jenkinsci/bitbucket-branch-source-plugin",
    "jenkinsci/github-branch-source-plugin",
    "jenkinsci/gitlab-plugin",
)
# Payloads of webhooks, and not answers of APIs, settings of webhooks, or forges that are not read.
_PLACES: Final = re.compile(
    r"payload-examples/[^/]+/|testdata/webhooks/|webhooks?/testdata/|webhook/(cloud|server)/"
    r"|fixtures/(hooks?\.go|Hook)|(test|webhook)/fixtures/|/[A-Za-z]+EventTest/|/EventsTest/"
    r"|gitlabjenkins/webhook/"
)
_STRANGE: Final = re.compile(
    r"/(harness|gitee|gogs)/|(invalid|empty|legacy|updateP|index|apiResponse)", re.IGNORECASE
)
_GO_TEXT: Final = re.compile(r"= `(\s*\{.*?\})\s*`", re.DOTALL)
_PUSH: Final = re.compile(r"push|tag(?!s)|refs_?changed|branch_(create|delete)", re.IGNORECASE)
_OTHER: Final = re.compile(
    r"pull|pr[_O]|_pr|merge_request|comment|issue|release|note|review|label|deploy|status|pipeline|"
    r"suite|sync",
    re.IGNORECASE,
)
# GitHub and Gitea send `create` and `delete` beside each push of a new or deleted ref.
_BESIDE: Final = re.compile(r"(github|gitea|forgejo)/.*(create|delete|HookTag)")


@dataclass(frozen=True, slots=True)
class Sample:
    """Payload of another project, and the name that it has there."""

    project: str
    name: str
    document: dict[str, Any]


def iter_samples(directory: Path) -> Iterator[Sample]:
    """Yield the payloads of the projects in a directory; a missing project is fetched."""
    for project in _PROJECTS:
        place = directory / project.replace("/", "+")
        if not place.exists():
            url = f"https://github.com/{project}.git"
            _git("clone", "--quiet", "--bare", "--depth=1", url, str(place))
        bare = place / "repo" if (place / "repo").exists() else place
        listed = _git("-C", str(bare), "ls-tree", "-r", "--name-only", "HEAD").decode()
        names = [name for name in listed.splitlines() if _is_sample(name)]
        for name, text in zip(names, _contents(bare, names), strict=True):
            for document in _documents(name, text):
                yield Sample(project, name, document)


def _is_sample(name: str) -> bool:
    named = name.endswith((".json", ".go")) and _PLACES.search(name)
    return bool(named) and not _STRANGE.search(name)


def _contents(bare: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield the text of each file; an empty one for a file that the copy is without."""
    asked = "".join(f"HEAD:{name}\n" for name in names).encode()
    answer = _git("-C", str(bare), "cat-file", "--batch", asked=asked)
    for _ in names:
        head, _, answer = answer.partition(b"\n")
        if head.endswith(b"missing"):
            yield ""
            continue
        size = int(head.rsplit(b" ", 1)[1])
        yield answer[:size].decode("utf-8", "replace")
        answer = answer[size + 1 :]


def _documents(name: str, text: str) -> Iterator[dict[str, Any]]:
    for each in [text] if name.endswith(".json") else _GO_TEXT.findall(text):
        try:
            document = orjson.loads(each)
        except ValueError:
            continue
        if isinstance(document, dict) and len(document) > 1:  # others are cut down to a field
            yield document


def reading_of(document: dict[str, Any]) -> str:
    """Return what a payload is read as: push, deleted, nothing or rejected."""
    try:
        payload = read_payload(document)
    except Reject:
        return "rejected"
    if isinstance(payload, str):
        return "nothing"
    reader = MessageReader([_host_of(payload)])
    read = reader.read(message(orjson.dumps(document)))
    if any(isinstance(each, Push) for each in read):
        return "push"
    return "deleted" if isinstance(read[0], Nothing) else "rejected"


def _host_of(payload: Payload) -> Host:
    return Host(payload.host or "host.example", ForgeKind(payload.kind), signature=Signature.OFF)


def is_mistaken(sample: Sample, read: str) -> bool:
    """Return whether the last two parts of a name say something else than was read.

    Names that say nothing are left to `read`.
    """
    path = PurePosixPath(sample.name)
    said = f"{path.parent.name}/{path.name}"
    if read in {"push", "deleted"}:
        return bool(_OTHER.search(said)) and "mirror" not in said
    named = bool(_PUSH.search(said)) and not _OTHER.search(said)
    return read == "rejected" or (named and not _BESIDE.search(sample.name))


def main() -> int:
    """Print the table; return 1 if something is taken for what it is not."""
    with tempfile.TemporaryDirectory() as own:
        directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(own)
        counts: Counter[tuple[str, str]] = Counter()
        odd: list[str] = []
        for sample in iter_samples(directory):
            read = reading_of(sample.document)
            counts[sample.project, read] += 1
            if is_mistaken(sample, read):
                odd.append(f"{read:9}{sample.project}: {sample.name}")
    for line in sorted(odd):
        print(line)  # noqa: T201 - its output
    for project in _PROJECTS:
        told = {read: number for (named, read), number in counts.items() if named == project}
        print(project, told)  # noqa: T201 - its output
    total = Counter(read for (_, read), number in counts.items() for _ in range(number))
    print(orjson.dumps({**total, "odd": len(odd)}).decode())  # noqa: T201 - its output
    return 1 if odd else 0


def _git(*arguments: str, asked: bytes = b"") -> bytes:
    ended = subprocess.run(("git", *arguments), check=True, input=asked, stdout=subprocess.PIPE)
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
