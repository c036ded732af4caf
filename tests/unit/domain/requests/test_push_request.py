"""Push message: what is written is read, what is faulty is refused with field, value and remedy."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from support.hostile import values

import asyncbuild.domain.requests as package
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.foreign_json import load_json
from asyncbuild.domain.model import TIP
from asyncbuild.domain.refs import is_ref_name
from asyncbuild.domain.repository import Repository, decode_repository
from asyncbuild.domain.requests.push_request import (
    AHEAD_MOST,
    PushRequest,
    dump_request,
    read_request,
)
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.domain.rules.rule_variables import OWN_VARIABLES

NOON: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
SCHEMA: Final = orjson.loads(
    (Path(package.__file__).parent / "push-message.schema.json").read_bytes()
)
VALIDATOR: Final = OAS31Validator(SCHEMA)
DOCUMENTED: Final = Path(__file__).parents[4] / "docs/push-message.md"

MESSAGE: Final[dict[str, Any]] = {
    "asyncbuild": "push",
    "version": 1,
    "repository": {"account": "123456789012", "region": "eu-west-1", "name": "web"},
    "ref": "refs/heads/main",
    "commit": "tip",
    "source": "schedule",
    "time": "2026-11-30T12:00:00Z",
}

names = st.from_regex(r"[A-Za-z0-9_.][A-Za-z0-9_-]{0,20}[A-Za-z0-9]", fullmatch=True)
commits = st.from_regex(r"[0-9a-f]{40}|[0-9a-f]{64}", fullmatch=True)
lines = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30)
variables = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(
        lambda name: name not in OWN_VARIABLES and not name.upper().startswith("CODEBUILD_")
    ),
    st.text(st.characters(exclude_categories=["C"]), max_size=30),
    max_size=5,
)
repositories = st.one_of(
    st.builds(
        Repository.of_codecommit,
        st.just("123456789012"),
        st.sampled_from(["eu-west-1", "us-gov-east-1"]),
        names,
    ),
    st.builds(
        Repository.of_host,
        st.sampled_from(["github.com", "git.example.org:8443"]),
        st.sampled_from(["acme", "group/subgroup"]),
        names,
    ),
)


@st.composite
def requests(draw: st.DrawFn) -> PushRequest:
    """Return any request that may be sent."""
    terms = RequestTerms(
        source=draw(st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)),
        reason=draw(lines),
        requested_by=draw(lines),
        projects=tuple(draw(st.lists(names, max_size=3, unique=True))),
        variables=draw(variables),
        again=draw(st.booleans()),
    )
    return PushRequest(
        id=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)),
        repository=draw(repositories),
        ref=draw(st.sampled_from(["refs/heads/", "refs/tags/"])) + draw(names).strip("."),
        commit=draw(st.just(TIP) | commits),
        time=draw(st.datetimes(datetime(2000, 1, 1), datetime(9000, 1, 1))).replace(tzinfo=UTC),  # noqa: DTZ001 - made UTC here
        terms=terms,
        old_commit=draw(st.just("") | commits),
    )


@given(requests().filter(lambda each: is_ref_name(each.ref)))
def test_what_is_written_is_read_and_valid(request: PushRequest) -> None:
    """A sender and a receiver of this version understand the same thing, and so does a program."""
    document = orjson.loads(dump_request(request))
    assert read_request(document) == request
    assert not list(VALIDATOR.iter_errors(document))


@given(
    st.dictionaries(
        st.sampled_from(list(SCHEMA["properties"])),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
        max_size=3,
    )
)
def test_what_the_schema_refuses_is_refused(changes: dict[str, Any]) -> None:
    """A program that checks against the schema is never told that more is allowed than is."""
    document = MESSAGE | changes
    try:
        read_request(document)
    except Reject:
        return
    assert not list(VALIDATOR.iter_errors(document))


def fields() -> list[tuple[str, ...]]:
    """Return the paths of all fields that hold text."""
    flat = [(name,) for name in SCHEMA["properties"] if name not in {"repository", "version"}]
    return [*flat, *(("repository", name) for name in MESSAGE["repository"])]


@pytest.mark.parametrize("path", fields(), ids=".".join)
def test_hostile_values_are_refused_or_harmless(path: tuple[str, ...]) -> None:
    """No value of a sender ends in anything but a request that is safe, or a reason (I11)."""
    refused: list[Reject] = []
    for value in values("/tmp/trap"):  # noqa: S108 - the name of a trap, never written
        for given_value in (value, [value], {value: value}, {"X": value}, f"refs/heads/{value}"):
            document: Any = load_json(orjson.dumps(MESSAGE))
            inner = document
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = given_value
            try:
                request = read_request(document)
            except Reject as error:
                refused.append(error)
                continue
            assert is_ref_name(request.ref)
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", request.id)
            assert request.terms.requested_by.isprintable()
            assert request.terms.reason.isprintable()
            assert not list(VALIDATOR.iter_errors(document))
    assert all(each.reason.isprintable() for each in refused)
    assert all(each.remedy for each in refused) or path[0] in {"ref", "repository"}


FAULTS: Final = [
    ({"asyncbuild": "report"}, "asyncbuild is 'report'", "queues of their own"),
    ({"version": 2}, "version of the push message is 2", "reads version 1"),
    ({"version": True}, "version of the push message is True", "reads version 1"),
    ({"project": ["web"]}, "field 'project' of the push message is unknown", "projects"),
    ({"source": None}, "source is None", "schedule"),
    ({"commit": "HEAD"}, "commit is 'HEAD'", '"tip"'),
    ({"commit": "abc1234"}, "commit is 'abc1234'", "full id"),
    ({"old_commit": None}, "old_commit is None", "leave it out"),
    ({"ref": "main"}, "ref 'main' is not below", ""),
    ({"ref": "refs/heads/a\r\nb"}, "not a name that git allows", ""),
    ({"ref": "refs/pull/1/head"}, "is not below refs/heads/ or refs/tags/", ""),
    ({"time": "yesterday"}, "time is 'yesterday'", "RFC 3339"),
    ({"time": "2026-11-30"}, "time is '2026-11-30'", "RFC 3339"),
    ({"id": "a b"}, "id is 'a b'", "128"),
    ({"reason": "a\nb"}, "reason is 'a\\nb'", "one line"),
    ({"requested_by": "x" * 257}, "requested_by is 'xxx", "256 characters"),
    ({"again": "yes"}, "again is 'yes'", "true or false"),
    ({"projects": "web"}, "projects is 'web'", "list"),
    ({"projects": ["a b"]}, "projects has 'a b'", "projects or of pipelines"),
    ({"variables": ["A=b"]}, "variables is not an object", "object"),
    ({"variables": {"COMMIT_ID": "x"}}, "variables has 'COMMIT_ID'", "choose another"),
    ({"variables": {"codebuild_x": "x"}}, "variables has 'codebuild_x'", "choose another"),
    ({"variables": {"A B": "x"}}, "variables has 'A B'", "letters, digits"),
    ({"variables": {"A": 1}}, "variables.A is not text", "give text"),
    ({"variables": {"A": "\x00"}}, "variables.A is not text", "give text"),
    ({"variables": {f"A{n}": "x" for n in range(51)}}, "variables has 51 entries", "most 50"),
    ({"variables": {"A": "x" * 5_000}}, "more than 5000 characters", "bucket"),
    ({"as_push": True, "again": True}, "as_push is true together with", "leave as_push out"),
    ({"as_push": True, "projects": ["web"]}, "as_push is true together with", "leave as_push"),
    ({"since": "2026-11-30T11:00:00Z"}, "since is '2026-11-30T11", "commit is an id"),
    (
        {"since": "2026-11-30T12:00:01Z", "as_push": True, "commit": "a" * 40},
        "since is '2026-11-30T12:00:01Z'",
        "not after time",
    ),
    ({"time": "0001-01-01T00:00:00Z"}, "time is '0001-01-01", "RFC 3339"),
    ({"since": 1, "as_push": True, "commit": "a" * 40}, "since is 1", "RFC 3339"),
    ({"repository": "web"}, "repository is 'web'", "account, region and name"),
    ({"repository": {"account": "1", "region": "2", "name": 3}}, "repository.name is 3", "string"),
    (
        {"repository": {"account": "123456789012", "region": "Mars", "name": "web"}},
        "repository.region is 'Mars'",
        "AWS region",
    ),
    (
        {"repository": {"account": "github.com", "region": "a/b", "name": "web"}},
        "cannot be one",
        "explain --json",
    ),
    (
        {"repository": {"account": "github.com", "region": "a  b", "name": "web"}},
        "is not a name of 1 to 100",
        "",
    ),
    (
        {"repository": {"account": "GitHub.com", "region": "acme", "name": "web"}},
        "cannot be one",
        "explain --json",
    ),
]


@pytest.mark.parametrize(("changes", "reason", "remedy"), FAULTS)
def test_a_fault_names_field_value_and_remedy(
    changes: dict[str, Any], reason: str, remedy: str
) -> None:
    """The dead letter says what the sender has to change."""
    with pytest.raises(Reject) as caught:
        read_request(MESSAGE | changes)
    assert reason in caught.value.reason
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("name", ["repository", "ref", "commit", "source", "time"])
def test_a_missing_field_is_named(name: str) -> None:
    """A message that lacks something never builds something else instead."""
    with pytest.raises(Reject, match=f"field {name} of the push message is missing"):
        read_request({each: value for each, value in MESSAGE.items() if each != name})


def test_time_far_ahead_is_refused() -> None:
    """A sender's wrong clock would make all later pushes of the ref look old."""
    edge = NOON - AHEAD_MOST
    assert read_request(MESSAGE, sent=edge).time == NOON
    with pytest.raises(Reject, match="15 minutes after the message was sent"):
        read_request(MESSAGE, sent=edge - timedelta(seconds=1))


def test_time_with_an_offset_is_the_same_moment() -> None:
    """Scheduler and people write local times with their offset."""
    zone = timezone(timedelta(hours=2))
    told = read_request(MESSAGE | {"time": "2026-11-30T14:00:00+02:00"}).time
    assert told == NOON.astimezone(zone)
    assert told.tzinfo is UTC


def test_equal_messages_without_id_are_one_request() -> None:
    """A scheduler that sends twice for one time builds once; another time is another request."""
    first = read_request(MESSAGE)
    assert first.id == read_request(dict(reversed(MESSAGE.items()))).id
    assert first.id.startswith("schedule-")
    others: list[dict[str, Any]] = [
        {"time": "2026-12-01T12:00:00Z"},
        {"ref": "refs/heads/x"},
        {"again": True},
    ]
    assert first.id not in {read_request(MESSAGE | other).id for other in others}


@pytest.mark.parametrize(
    ("changes", "as_push"),
    [
        ({}, True),
        ({"commit": "a" * 40}, False),
        ({"commit": "a" * 40, "as_push": True}, True),
        ({"again": True}, False),
        ({"projects": ["web"]}, False),
        ({"variables": {"A": "b"}}, False),
        ({"as_push": False}, False),
    ],
)
def test_only_a_plain_tip_stands_for_a_push(changes: dict[str, Any], as_push: bool) -> None:  # noqa: FBT001 - a case
    """A build of a part, or of an old commit, never makes the ref's head."""
    assert read_request(MESSAGE | changes).terms.as_push is as_push


def test_a_found_push_keeps_when_its_ref_was_last_elsewhere() -> None:
    """Without it an older stay at the same commit would count as this push."""
    found = MESSAGE | {"since": "2026-11-30T11:00:00Z", "as_push": True, "commit": "a" * 40}
    request = read_request(found)
    assert request.terms.since == NOON - timedelta(hours=1)
    assert read_request(orjson.loads(dump_request(request))) == request
    assert not list(VALIDATOR.iter_errors(found))


def test_examples_of_the_documentation_are_read() -> None:
    """What senders copy works."""
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        text = block.replace("<aws.scheduler.scheduled-time>", "2026-11-30T02:00:00Z")
        document = orjson.loads(text)
        assert not list(VALIDATOR.iter_errors(document))
        read_request(document)


def test_documentation_has_every_field() -> None:
    """A field that is not described is not used."""
    text = DOCUMENTED.read_text()
    assert all(f"| `{name}` |" in text for name in SCHEMA["properties"])


def test_repository_is_that_of_the_ledger() -> None:
    """Senders copy the segments from a record, where a subgroup is written with two dots."""
    segments = {"account": "git.example.org..8443", "region": "group..sub", "name": "web"}
    request = read_request(MESSAGE | {"repository": segments})
    assert request.repository == decode_repository(**segments)
    assert request.repository.owner == "group/sub"


@pytest.mark.parametrize(
    "variables",
    [
        ["TOKEN=tell-none"],
        {"TOKEN": ["tell-none"]},
        {"TOKEN": "tell-none\x00"},
        {"TOKEN": "tell-none" * 1_000},
        {f"TOKEN_{number}": "tell-none" for number in range(51)},
    ],
)
def test_a_refusal_shows_no_value_of_a_variable(variables: object) -> None:
    """The reason goes into the log, the ledger and the page, and some values are secrets (I10)."""
    with pytest.raises(Reject) as caught:
        read_request(MESSAGE | {"variables": variables})
    assert "tell-none" not in f"{caught.value} {caught.value.remedy}"
