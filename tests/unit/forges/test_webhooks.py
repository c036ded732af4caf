"""Push payloads of other forges become pushes, ignored events or rejections with a reason."""

import base64
import contextlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.events import body, envelope
from support.webhooks import (
    DELIVERY,
    SECRET,
    SENT,
    SIGNING_TOKEN,
    ZEROS,
    delivered,
    enveloped,
    headers,
    hosts,
    message,
    payload,
    signed_headers,
)

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Change, Message, Nothing, Push
from asyncbuild.domain.repository import ForgeKind, Repository, encode_segment
from asyncbuild.forges.webhooks.delivery import KEPT, kept_attributes, showable
from asyncbuild.forges.webhooks.dialect import Delivery
from asyncbuild.forges.webhooks.dialects import DIALECTS
from asyncbuild.forges.webhooks.senders import Host, MessageReader, Signature

PUSHED = datetime(2026, 11, 1, 10, 23, 43, tzinfo=UTC)
_EXPECTED = {
    ForgeKind.GITHUB: Push(
        id=DELIVERY,
        repository=Repository.of_host("github.com", "acme", "web"),
        ref="refs/heads/main",
        commit="0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
        change=Change.UPDATED,
        time=PUSHED,
        old_commit="6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        pusher="mary",
    ),
    ForgeKind.GITLAB: Push(
        id=DELIVERY,
        repository=Repository.of_host("gitlab.com", "acme/platform", "web"),
        ref="refs/heads/master",
        commit="da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
        change=Change.UPDATED,
        time=SENT,
        old_commit="95790bf891e76fee5e1747ab589903a6a1f80f22",
        pusher="mary",
        timed=False,
    ),
    ForgeKind.BITBUCKET: Push(
        id=DELIVERY,
        repository=Repository.of_host("bitbucket.org", "acme", "web"),
        ref="refs/heads/main",
        commit="709d658dc5b6d6afcd46049c2f332ee3f515a67d",
        change=Change.UPDATED,
        time=SENT,
        old_commit="1e65c05c1d5171631d92438a13901ca7dae9618c",
        pusher="mary",
        timed=False,
    ),
    ForgeKind.BITBUCKET_SERVER: Push(
        id=DELIVERY,
        repository=Repository.of_host("git.acme.example", "ACME", "web"),
        ref="refs/heads/master",
        commit="178864a7d521b6f5e720b386b2c2b0ef8563e0dc",
        change=Change.UPDATED,
        time=PUSHED,
        old_commit="ecddabb624f6f5ba43816f5926e580a5f680a932",
        pusher="mary",
    ),
    ForgeKind.GITEA: Push(
        id=DELIVERY,
        repository=Repository.of_host("gitea.example.com", "acme", "web"),
        ref="refs/heads/main",
        commit="bffeb74224043ba2feb48d137756c8a9331c449a",
        change=Change.UPDATED,
        time=SENT,
        old_commit="28e1879d029cb852e4844d9c718537df08844e03",
        pusher="mary",
        timed=False,
    ),
    ForgeKind.FORGEJO: Push(
        id=DELIVERY,
        repository=Repository.of_host("forgejo.example.com", "acme", "web"),
        ref="refs/heads/main",
        commit="cffeb74224043ba2feb48d137756c8a9331c449a",
        change=Change.UPDATED,
        time=SENT,
        old_commit="28e1879d029cb852e4844d9c718537df08844e03",
        pusher="mary",
        timed=False,
    ),
    ForgeKind.AZURE_DEVOPS: Push(
        id=DELIVERY,
        repository=Repository.of_host("dev.azure.com", "acme/Web Platform", "web shop"),
        ref="refs/heads/main",
        commit="33b55f7cb7e7e245323987634f960cf4a6e6bc74",
        change=Change.UPDATED,
        time=datetime(2026, 11, 1, 10, 23, 43, 330958, tzinfo=UTC),
        old_commit="aad331d8d3b131fa9ae03cf5e53965b51942618a",
        pusher="mary",
    ),
}

_FORMS: dict[str, Callable[[ForgeKind, object], Message]] = {
    "raw": delivered,
    "envelope": enveloped,
    "base64": lambda kind, document: enveloped(kind, document, encoded=True),
    "load balancer": lambda kind, document: _of_load_balancer(enveloped(kind, document)),
}


def _of_load_balancer(made: Message) -> Message:
    """Return the message with every header as a list of values, where the last one counts."""
    event = orjson.loads(made.body)
    told = event.pop("headers")
    event["multiValueHeaders"] = {name: ["another", value] for name, value in told.items()}
    return message(orjson.dumps(event))


def _one(message: Message, reader: MessageReader | None = None) -> Push:
    (event,) = (reader or hosts()).read(message)
    assert isinstance(event, Push)
    return event


def _nothing(message: Message) -> Nothing:
    (event,) = hosts().read(message)
    assert isinstance(event, Nothing)
    return event


@pytest.mark.parametrize("form", _FORMS.values(), ids=list(_FORMS))
@pytest.mark.parametrize("kind", ForgeKind)
def test_a_push_of_each_forge_in_each_form(
    kind: ForgeKind, form: Callable[[ForgeKind, object], Message]
) -> None:
    """Several commits, one ref: every field is read, the signature checked before."""
    assert _EXPECTED[kind] == _one(form(kind, payload(kind)))


def test_an_event_of_codecommit_is_read_from_the_same_queue() -> None:
    """Without webhook headers an EventBridge event is read as such."""
    assert _one(message(body())).repository.segments.region == "eu-west-1"


def _set(kind: ForgeKind, ref: str, old: str, new: str) -> dict[str, Any]:
    """Return a payload of that kind about another change."""
    made = payload(kind)
    match kind:
        case ForgeKind.GITHUB | ForgeKind.GITLAB | ForgeKind.GITEA | ForgeKind.FORGEJO:
            made |= {"ref": ref, "before": old, "after": new}
        case ForgeKind.AZURE_DEVOPS:
            update = {"name": ref, "oldObjectId": old, "newObjectId": new}
            made["resource"]["refUpdates"] = [update]
        case ForgeKind.BITBUCKET:
            name = ref.split("/", 2)[2]
            type_ = "tag" if ref.startswith("refs/tags/") else "branch"
            sides = {
                side: None
                if id_ == ZEROS
                else {"type": type_, "name": name, "target": {"hash": id_}}
                for side, id_ in (("old", old), ("new", new))
            }
            made["push"]["changes"] = [sides]
        case ForgeKind.BITBUCKET_SERVER:
            made["changes"] = [{"ref": {"id": ref}, "fromHash": old, "toHash": new}]
    return made


@pytest.mark.parametrize("kind", ForgeKind)
def test_a_created_ref_has_no_old_commit(kind: ForgeKind) -> None:
    """Its payload has zeros, or nothing, as the old commit."""
    push = _one(delivered(kind, _set(kind, "refs/heads/feature/x", ZEROS, "a" * 40)))
    assert (push.change, push.old_commit, push.commit) == (Change.CREATED, None, "a" * 40)
    assert push.branch == "feature/x"


@pytest.mark.parametrize("kind", ForgeKind)
def test_a_tag(kind: ForgeKind) -> None:
    """Tags are refs like others."""
    push = _one(delivered(kind, _set(kind, "refs/tags/v1.0", ZEROS, "b" * 40)))
    assert (push.kind.value, push.branch) == ("tag", "v1.0")


@pytest.mark.parametrize("kind", ForgeKind)
def test_a_deleted_ref_is_ignored(kind: ForgeKind) -> None:
    """The record has the repository and the ref."""
    nothing = _nothing(delivered(kind, _set(kind, "refs/heads/old", "c" * 40, ZEROS)))
    assert nothing.ref == "refs/heads/old"
    assert nothing.repository == _EXPECTED[kind].repository
    assert "deleted" in nothing.reason


@pytest.mark.parametrize("kind", [ForgeKind.BITBUCKET, ForgeKind.BITBUCKET_SERVER])
def test_several_refs_in_one_payload_are_several_pushes(kind: ForgeKind) -> None:
    """One push for each ref that still exists, in their order, each with its own id."""
    made = payload(kind)
    changes = made["push"]["changes"] if kind is ForgeKind.BITBUCKET else made["changes"]
    for ref, old, new in (
        ("a", ZEROS, "1" * 40),
        ("b", "2" * 40, ZEROS),
        ("c", "3" * 40, "4" * 40),
    ):
        other = _set(kind, f"refs/heads/{ref}", old, new)
        changes += other["push"]["changes"] if kind is ForgeKind.BITBUCKET else other["changes"]
    events = hosts().read(delivered(kind, made))
    pushes = [event for event in events if isinstance(event, Push)]
    assert [push.branch for push in pushes] == [_EXPECTED[kind].branch, "a", "c"]
    assert [push.id for push in pushes] == [f"{DELIVERY}.{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (ForgeKind.GITHUB, {"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {}}),
        (ForgeKind.BITBUCKET_SERVER, {"test": True}),
        (ForgeKind.GITLAB, {"object_kind": "merge_request"}),
        (ForgeKind.GITLAB, {"event_name": "project_create", "name": "web"}),
        (ForgeKind.BITBUCKET_SERVER, {"eventKey": "pr:opened"}),
    ],
)
def test_events_that_are_not_pushes_are_ignored(kind: ForgeKind, document: dict[str, Any]) -> None:
    """A ping and needlessly subscribed events are ignored without an error."""
    assert _nothing(delivered(kind, document)).reason


def test_an_event_that_only_the_header_names() -> None:
    """GitHub's and Bitbucket's other events are known by their headers alone."""
    made = message(b'{"action": "opened"}', {"X-GitHub-Event": "issues"})
    assert "'issues' is not a push" in _nothing(made).reason


def test_an_ignored_event_says_whether_it_was_signed() -> None:
    """Anyone who knows the address can send a ping; a forge with the secret signs it, too."""
    content = b'{"zen": "Design for failure."}'
    for kind, named in _HEADERS_OF.items():
        known = MessageReader([Host("git.example:8443", kind, secrets=lambda: (SECRET,))])
        for secret in (SECRET, "another", None):
            told = {**headers(kind, content, secret=secret), named: "ping"}
            (nothing,) = known.read(message(content, told))
            assert isinstance(nothing, Nothing)
            assert nothing.unverified == ("" if secret == SECRET else "git.example..8443")
    (nothing,) = MessageReader().read(message(content, {"X-GitHub-Event": "ping"}))
    assert isinstance(nothing, Nothing)
    assert nothing.unverified == ""


_HEADERS_OF = {
    ForgeKind.GITHUB: "X-GitHub-Event",
    ForgeKind.GITLAB: "X-Gitlab-Event",
    ForgeKind.BITBUCKET: "X-Event-Key",
    ForgeKind.BITBUCKET_SERVER: "X-Event-Key",
    ForgeKind.GITEA: "X-Gitea-Event",
    ForgeKind.FORGEJO: "X-Forgejo-Event",
}
_PUSH_EVENTS = {"push", "Push Hook", "Tag Push Hook", "System Hook", "repo:push"}
_PUSH_EVENTS |= {"repo:refs_changed", "mirror:repo_synchronized"}


@given(
    st.sampled_from(list(_HEADERS_OF)),
    st.text() | st.sampled_from(["cache_sync", "Job Hook", "repo:fork"]),
)
def test_the_header_decides_whether_a_push_payload_is_a_push(kind: ForgeKind, event: str) -> None:
    """Any other name of the event makes it ignored, with that name as the reason."""
    if event in _PUSH_EVENTS:
        return
    made = delivered(kind, payload(kind))
    told = {**made.attributes, _HEADERS_OF[kind]: event}
    nothing = _nothing(message(made.body, told))
    assert nothing.reason.startswith("event ")
    assert nothing.reason.endswith(" is not a push")


@pytest.mark.parametrize("kind", ForgeKind)
def test_without_the_header_the_payload_decides(kind: ForgeKind) -> None:
    """A gateway may pass on signatures without names of events, and a dead letter has no room."""
    made = delivered(kind, payload(kind))
    told = {name: value for name, value in made.attributes.items() if "Event" not in name}
    assert _EXPECTED[kind] == _one(message(made.body, told))


@pytest.mark.parametrize("kind", [ForgeKind.BITBUCKET, ForgeKind.BITBUCKET_SERVER])
def test_deletions_are_not_counted(kind: ForgeKind) -> None:
    """Any number is accepted, alone or beside as many refs as can be built."""
    gone = [_change(kind, f"refs/heads/gone{n}", "a" * 40, ZEROS) for n in range(300)]
    made = [_change(kind, f"refs/heads/made{n}", ZEROS, "b" * 40) for n in range(100)]
    assert "deleted" in _nothing(delivered(kind, _with_changes(kind, gone))).reason
    pushes = hosts().read(delivered(kind, _with_changes(kind, [*gone, *made])))
    assert len(pushes) == 100
    with pytest.raises(Reject, match="101 refs that are to be built"):
        hosts().read(delivered(kind, _with_changes(kind, [*gone, *made, made[0]])))


def _change(kind: ForgeKind, ref: str, old: str, new: str) -> object:
    made = _set(kind, ref, old, new)
    return made["push"]["changes"][0] if kind is ForgeKind.BITBUCKET else made["changes"][0]


def _with_changes(kind: ForgeKind, changes: list[object]) -> dict[str, Any]:
    made = payload(kind)
    place = made["push"] if kind is ForgeKind.BITBUCKET else made
    place["changes"] = changes
    return made


# --- text that a strict reader of JSON refuses ----------------------------------------------------

# JSON texts of one value: half a surrogate pair, NaN, more digits than Python reads,
# nesting deeper than a strict reader allows.
_ODD = {
    "surrogate": r'"\ud83d"',
    "NaN": "[NaN, -Infinity]",
    "digits": "9" * 5000,
    "digits below zero": "-" + "9" * 400,
    "a float": "1e999",
}


@pytest.mark.parametrize("odd", _ODD.values(), ids=list(_ODD))
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "byte order mark"])
@pytest.mark.parametrize("kind", ForgeKind)
def test_an_unused_field_may_contain_anything(kind: ForgeKind, mark: str, odd: str) -> None:
    """The push is read in each form of a message; its signature is of the bytes as received."""
    body = mark.encode() + orjson.dumps(payload(kind))[:-1] + b', "x": {"y": [' + odd.encode()
    body += b"]}}"
    told = headers(kind, body)
    assert _EXPECTED[kind] == _one(message(body, told))
    event = {"headers": told, "body": body.decode(), "isBase64Encoded": False}
    assert _EXPECTED[kind] == _one(message(orjson.dumps(event)))


def test_invalid_unicode_in_an_unused_field_is_accepted() -> None:
    """Invalid bytes are received in base64 alone: a queue's messages are text."""
    body = orjson.dumps({**payload(ForgeKind.GITHUB), "x": "X"}).replace(b'"X"', b'"\xff\xfe"')
    encoded = base64.b64encode(body).decode()
    event = {"headers": headers(ForgeKind.GITHUB, body), "body": encoded, "isBase64Encoded": True}
    assert _EXPECTED[ForgeKind.GITHUB] == _one(message(orjson.dumps(event)))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (ForgeKind.GITHUB, ("ref",)),
        (ForgeKind.GITHUB, ("repository", "full_name")),
        (ForgeKind.GITLAB, ("after",)),
        (ForgeKind.BITBUCKET, ("push", "changes", 0, "new", "name")),
        (ForgeKind.BITBUCKET_SERVER, ("repository", "slug")),
    ],
)
@pytest.mark.parametrize("odd", ["\ud83d", "\ud83d/x", "refs/heads/\ude00"])
def test_a_used_field_has_to_be_valid(
    kind: ForgeKind, path: tuple[str | int, ...], odd: str
) -> None:
    """Half a surrogate pair in it is a rejection that can be shown, logged and recorded."""
    made = payload(kind)
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = odd
    body = json.dumps(made).encode()
    with pytest.raises(Reject) as caught:
        hosts().read(message(body, headers(kind, body)))
    assert caught.value.reason.isprintable()
    assert caught.value.reason.isascii()


@pytest.mark.parametrize("kind", ForgeKind)
def test_an_invalid_pusher_is_left_out(kind: ForgeKind) -> None:
    """The pusher would become a variable of the build."""
    body = orjson.dumps(payload(kind)).replace(b'"mary"', rb'"m\ud83d"')
    assert _one(message(body, headers(kind, body))).pusher is None


@pytest.mark.parametrize("opening", ["[", '{"x":'])
@pytest.mark.parametrize("depth", [200, 900, 1015, 1024, 1500, 100_000])
def test_any_depth_of_nesting_is_handled(depth: int, opening: str) -> None:
    """Nesting in a whole body, in a field, in text to show, on each version of Python."""
    closing = {"[": "]", '{"x":': "}"}[opening]
    nest = opening * depth + "0" + closing * depth
    head = payload(ForgeKind.GITHUB)
    del head["ref"]
    for text in (
        nest,
        f'{{"Type": {nest}}}',
        orjson.dumps(head).decode()[:-1] + f', "ref": {nest}}}',
    ):
        for told in ({}, {"X-GitHub-Event": "push"}):
            with pytest.raises(Reject) as caught:
                hosts().read(message(text, told))
            assert caught.value.reason.isprintable()
    assert SECRET not in showable(f'{{"headers": {{"X-Gitlab-Token": "{SECRET}"}}, "x": {nest}}}')


def test_a_system_hook_of_gitlab_is_read() -> None:
    """A system hook names its event in another field."""
    made = payload(ForgeKind.GITLAB)
    del made["object_kind"]
    assert _one(delivered(ForgeKind.GITLAB, made)).commit == made["after"]


# --- signatures -----------------------------------------------------------------------------------


def test_the_signature_of_githubs_own_example() -> None:
    """GitHub Docs, "Validating webhook deliveries", testing: secret, payload and signature."""
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert headers(ForgeKind.GITHUB, b"Hello, World!")["X-Hub-Signature-256"] == expected


@pytest.mark.parametrize("kind", ForgeKind)
def test_a_wrong_signature_is_rejected(kind: ForgeKind) -> None:
    """The reason names the header and no secret (I10)."""
    with pytest.raises(Reject, match="does not fit webhook_secret") as caught:
        hosts().read(delivered(kind, payload(kind), secret="a guess"))
    assert "guess" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "kind", [ForgeKind.GITHUB, ForgeKind.BITBUCKET, ForgeKind.BITBUCKET_SERVER]
)
def test_a_changed_body_is_rejected(kind: ForgeKind) -> None:
    """One changed character is enough."""
    good = delivered(kind, payload(kind))
    changed = message(good.body.replace("mary", "mara"), good.attributes)
    with pytest.raises(Reject, match="does not fit"):
        hosts().read(changed)


@pytest.mark.parametrize("kind", ForgeKind)
def test_a_missing_signature_is_rejected_if_required(kind: ForgeKind) -> None:
    """Only present signatures are checked where they are optional."""
    unsigned = delivered(kind, payload(kind), secret=None)
    with pytest.raises(Reject, match=r"without (X-|Authorization)"):
        hosts().read(unsigned)
    for signature in (Signature.IF_PRESENT, Signature.OFF):
        assert _one(unsigned, hosts(signature=signature)) == _EXPECTED[kind]
    wrong = delivered(kind, payload(kind), secret="a guess")
    with pytest.raises(Reject, match="does not fit"):
        hosts(signature=Signature.IF_PRESENT).read(wrong)
    assert _one(wrong, hosts(signature=Signature.OFF)) == _EXPECTED[kind]


@pytest.mark.parametrize("kind", ForgeKind)
def test_secrets_are_rotated_without_a_gap(kind: ForgeKind) -> None:
    """Each of two known secrets is accepted; without any secret every webhook is rejected."""
    both = hosts(secrets=("the new one", SECRET))
    for secret in ("the new one", SECRET):
        assert _one(delivered(kind, payload(kind), secret=secret), both) == _EXPECTED[kind]
    for none in ((), ("",)):
        for secret in ("", SECRET):
            with pytest.raises(Reject):
                hosts(secrets=none).read(delivered(kind, payload(kind), secret=secret))


@given(st.sampled_from(ForgeKind), st.text())
def test_no_other_header_value_is_a_valid_signature(kind: ForgeKind, told: str) -> None:
    """Values that are not ASCII or not Unicode are drawn, too."""
    raw = orjson.dumps(payload(kind))
    secrets = ("Signature", "Token", "Authorization")
    name = next(name for name in headers(kind, raw) if any(each in name for each in secrets))
    if told == headers(kind, raw)[name]:
        return
    with pytest.raises(Reject):
        hosts().read(message(raw, {**headers(kind, raw), name: told}))


_EXAMPLE = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
_EXAMPLE_TOKEN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_signature_of_the_standards_own_example() -> None:
    """Standard Webhooks, "Verifying signatures manually": token, headers and body."""
    sent = datetime.fromtimestamp(1614265330, UTC)
    body = b'{"test": 2432232314}'
    gitlab = DIALECTS[ForgeKind.GITLAB]
    assert gitlab.is_genuine(Delivery(_EXAMPLE, body, sent), [_EXAMPLE_TOKEN])
    assert not gitlab.is_genuine(Delivery(_EXAMPLE, body + b" ", sent), [_EXAMPLE_TOKEN])


@pytest.mark.parametrize("kind", sorted(set(ForgeKind) - {ForgeKind.GITLAB}))
def test_a_signature_that_a_forge_does_not_make_is_ignored(kind: ForgeKind) -> None:
    """Signatures of other kinds count neither in place of the forge's own, nor beside it."""
    body = orjson.dumps(payload(kind))
    stray = {name: value for name, value in _EXAMPLE.items() if name != "webhook-id"}
    assert _EXPECTED[kind] == _one(message(body, {**headers(kind, body), **stray}))
    with pytest.raises(Reject, match=r"without (X-Hub-Signature|Authorization)"):
        hosts().read(message(body, {**headers(kind, body, secret=None), **stray}))


def test_a_dead_letter_keeps_the_headers_to_read_it_again() -> None:
    """Headers that prove the sender come first."""
    assert (
        *("webhook-host", "webhook-sent", "x-hub-signature-256"),
        *("webhook-signature", "webhook-id", "webhook-timestamp"),
        *("x-gitlab-token", "x-hub-signature", "x-gitea-signature", "x-forgejo-signature"),
        *("authorization", "x-github-delivery", "idempotency-key"),
        *("x-request-uuid", "x-request-id", "x-gitea-delivery", "x-forgejo-delivery"),
        *("x-gitlab-event-uuid", "x-github-event", "x-gitlab-event", "x-event-key"),
        *("x-gitea-event", "x-forgejo-event", "service-hook"),
    ) == KEPT


def _signed(
    *, secret: str = SIGNING_TOKEN, late_seconds: int = 0, told: Mapping[str, str] | None = None
) -> Message:
    """GitLab's fixture with a signature by the standard, and no secret token."""
    body = orjson.dumps(payload(ForgeKind.GITLAB))
    return message(
        body, {**signed_headers(body, secret, late_seconds=late_seconds), **(told or {})}
    )


def test_a_signing_token_of_gitlab_is_checked() -> None:
    """Body, id and time are signed.

    The id is the delivery's, and a dead letter has room for all.
    """
    tokens = hosts(secrets=("whsec_no base64", "a secret token", SIGNING_TOKEN))
    made = _signed()
    assert _EXPECTED[ForgeKind.GITLAB] == _one(made, tokens)
    kept = kept_attributes({**made.attributes, "Webhook-Sent": SENT.isoformat()}, 5)
    later = Message("m-2", made.body, "handle", "group", 2, attributes=kept)
    assert _EXPECTED[ForgeKind.GITLAB] == _one(later, tokens)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (_signed(secret="whsec_AAAA"), "does not fit"),
        (_signed(told={"Webhook-Id": "another"}), "does not fit"),
        (_signed(told={"Webhook-Timestamp": "1"}), "does not fit"),
        (_signed(told={"Webhook-Signature": ""}), "does not fit"),
        (_signed(late_seconds=301), "signed more than 5 minutes before"),
        (_signed(late_seconds=-301), "signed more than 5 minutes before"),
    ],
)
def test_a_wrong_standard_signature_is_rejected(made: Message, reason: str) -> None:
    """A correct secret token beside it does not help."""
    tokens = hosts(secrets=(SECRET, SIGNING_TOKEN))
    for told in ({}, {"X-Gitlab-Token": SECRET}):
        with pytest.raises(Reject, match=reason):
            tokens.read(message(made.body, {**made.attributes, **told}))


def test_a_standard_signature_of_another_forge_is_ignored() -> None:
    """Its header means nothing beside GitHub's."""
    made = delivered(ForgeKind.GITHUB, payload(ForgeKind.GITHUB), secret="a guess")
    with pytest.raises(Reject, match="X-Hub-Signature-256 does not fit"):
        hosts().read(message(made.body, {**made.attributes, **_EXAMPLE}))


# --- authority of each sender ---------------------------------------------------------------------


def test_a_host_that_is_not_configured_is_rejected() -> None:
    """The host in a payload decides neither that it is trusted, nor which secret applies."""
    made = payload(ForgeKind.GITHUB)
    made["repository"]["html_url"] = "https://github.com.example.org/acme/web"
    with pytest.raises(Reject, match=r"no \[\[hosts\]\] entry"):
        hosts().read(delivered(ForgeKind.GITHUB, made))


def test_a_payload_of_another_kind_is_rejected() -> None:
    """A GitLab payload for a GitHub host is refused."""
    made = payload(ForgeKind.GITLAB)
    made["project"]["web_url"] = "https://github.com/acme/web"
    with pytest.raises(Reject, match=r"no \[\[hosts\]\] entry"):
        hosts().read(delivered(ForgeKind.GITLAB, made))


def test_the_first_entry_for_a_repository_counts() -> None:
    """Two owners on one host, each with its own secret; other owners are rejected."""
    reader = MessageReader(
        [
            Host("github.com", ForgeKind.GITHUB, ("acme/*",), secrets=lambda: ("one",)),
            Host("github.com", ForgeKind.GITHUB, ("other/*", "!other/x"), secrets=lambda: ("two",)),
        ]
    )
    made = payload(ForgeKind.GITHUB)
    for name, secret in (("acme/web", "one"), ("other/web", "two")):
        made["repository"]["full_name"] = name
        push = _one(delivered(ForgeKind.GITHUB, made, secret=secret), reader)
        assert name == push.repository.full_name
        with pytest.raises(Reject, match="does not fit"):
            reader.read(
                delivered(ForgeKind.GITHUB, made, secret={"one": "two", "two": "one"}[secret])
            )
    made["repository"]["full_name"] = "other/x"
    with pytest.raises(Reject, match=r"no \[\[hosts\]\] entry"):
        reader.read(delivered(ForgeKind.GITHUB, made))


def test_the_gateways_header_decides_the_host() -> None:
    """Data Center does not name itself; with several, the gateway's constant tells them apart."""
    reader = MessageReader(
        [
            Host("one.example", ForgeKind.BITBUCKET_SERVER, secrets=lambda: (SECRET,)),
            Host("two.example:8443", ForgeKind.BITBUCKET_SERVER, secrets=lambda: (SECRET,)),
        ]
    )
    made = delivered(ForgeKind.BITBUCKET_SERVER, payload(ForgeKind.BITBUCKET_SERVER))
    assert _one(made, reader).repository.forge == "one.example"
    told = message(made.body, {**made.attributes, "Webhook-Host": "two.example:8443"})
    assert _one(told, reader).repository.forge == "two.example:8443"


def test_a_sender_cannot_set_the_gateways_header() -> None:
    """A header of that name inside the envelope can be sent by anyone."""
    made = orjson.loads(enveloped(ForgeKind.GITHUB, payload(ForgeKind.GITHUB)).body)
    made["headers"]["webhook-host"] = "gitlab.com"
    assert _one(message(orjson.dumps(made))).repository.forge == "github.com"


@pytest.mark.parametrize(
    "made",
    [
        message(body(), {"X-GitHub-Event": "push"}),
        message(body(), {"Webhook-Host": "github.com"}),
        message(orjson.dumps({"headers": {}, "body": body()})),
        message(orjson.dumps({"headers": {}, "body": body(), **envelope()})),
    ],
)
def test_a_codecommit_event_through_the_gateway_is_rejected(made: Message) -> None:
    """An unsigned event could start builds of commits that were never pushed."""
    with pytest.raises(Reject, match="neither a CodeCommit event nor a push payload"):
        hosts().read(made)


def test_one_name_on_two_hosts_is_two_repositories() -> None:
    """Mirror, lane and ledger are found by the path."""
    paths = {_one(delivered(kind, payload(kind))).repository.path for kind in ForgeKind}
    assert len(paths) == len(ForgeKind)


_part = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]|\.(?=[A-Za-z0-9_-])){0,5}", fullmatch=True)
_owner = st.lists(_part, min_size=1, max_size=4).map("/".join)


@given(_owner, _owner)
def test_owners_are_never_mixed_up(one: str, other: str) -> None:
    """`a/b` is one directory, and does not belong to owner `a`."""
    assert (one == other) == (encode_segment(one) == encode_segment(other))
    made = payload(ForgeKind.GITLAB)
    made["project"]["path_with_namespace"] = f"{one}/web"
    repository = _one(delivered(ForgeKind.GITLAB, made)).repository
    assert repository.path.count("/") == 2
    host = Host("gitlab.com", ForgeKind.GITLAB, (f"{one}/web",))
    assert host.is_of(repository)


# --- identity and time ----------------------------------------------------------------------------


def test_a_delivery_without_an_id_has_the_messages() -> None:
    """Equal for the same message, different for another message with the same body."""
    made = delivered(ForgeKind.GITLAB, payload(ForgeKind.GITLAB))
    attributes = {n: v for n, v in made.attributes.items() if n != "Idempotency-Key"}
    attributes["X-Gitlab-Event-UUID"] = "13792a34-cac6-4fda-95a8-c58e00a3954e"
    first = message(made.body, attributes)
    later = Message("m-2", made.body, "handle", "group", 2, attributes=attributes)
    assert _one(first).id == _one(first).id
    assert _one(first).id.startswith("webhook-")
    assert _one(first).id != _one(later).id


def test_a_dead_letter_sent_back_is_the_same_push() -> None:
    """Identity and time are those of the first delivery, and fit into ten attributes."""
    made = delivered(ForgeKind.GITLAB, payload(ForgeKind.GITLAB))
    told = {n: v for n, v in made.attributes.items() if n != "Idempotency-Key"}
    many = {"Webhook-Sent": SENT.isoformat(), "Webhook-Host": "gitlab.com", **told}
    kept = kept_attributes({**many, **{f"X-{n}": "x" for n in range(5)}}, 5)
    assert kept == many
    back = Message("m-3", made.body, "handle", "group", 9, attributes=kept)
    assert _one(back) == _one(message(made.body, told))
    assert kept_attributes(many, 3).keys() == {"Webhook-Sent", "Webhook-Host", "X-Gitlab-Token"}


def test_a_token_in_an_envelope_is_not_shown() -> None:
    """Operators who read dead letters do not need it (I10)."""
    made = enveloped(ForgeKind.GITLAB, payload(ForgeKind.GITLAB))
    assert SECRET in made.body
    assert SECRET not in showable(made.body)
    assert showable("no JSON") == "no JSON"
    assert SECRET not in showable(made.body[:-1])
    plain = delivered(ForgeKind.GITHUB, payload(ForgeKind.GITHUB)).body
    assert showable(plain) == plain


@pytest.mark.parametrize("rest", ["", ', "body": 1}', ', "body": "{"}', ', "body": "[]"}'])
def test_a_token_in_a_broken_envelope_is_not_shown(rest: str) -> None:
    """The reason of a rejection goes to the log and the ledger (I10)."""
    with pytest.raises(Reject) as caught:
        hosts().read(message(f'{{"headers": {{"X-Gitlab-Token": "{SECRET}"}}{rest}'))
    assert SECRET not in str(caught.value)


# --- faults --------------------------------------------------------------------------------


def _wrong(kind: ForgeKind, *path: str | int, value: object) -> Message:
    made = payload(kind)
    place: Any = made
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return delivered(kind, made)


_GITHUB, _GITLAB, _BITBUCKET = ForgeKind.GITHUB, ForgeKind.GITLAB, ForgeKind.BITBUCKET
_CHANGE = ("push", "changes", 0)
_WRONG = {
    "after is '--all'": _wrong(_GITHUB, "after", value="--all"),
    "before is None": _wrong(_GITHUB, "before", value=None),
    "not below refs/heads/": _wrong(_GITHUB, "ref", value="refs/pull/1/head"),
    "not a name that git": _wrong(_GITLAB, "ref", value="refs/heads/a..b"),
    "owner '../..'": _wrong(_GITHUB, "repository", "full_name", value="../../x"),
    "owner ''": _wrong(_GITHUB, "repository", "full_name", value="web"),
    "owner 'a..b'": _wrong(_GITLAB, "project", "path_with_namespace", value="a..b/c"),
    "owner 'a.'": _wrong(_GITLAB, "project", "path_with_namespace", value="a./c"),
    "owner '-a'": _wrong(_GITLAB, "project", "path_with_namespace", value="-a/c"),
    "longer than 100": _wrong(_GITLAB, "project", "path_with_namespace", value="a/" * 60 + "c"),
    "'-rf' is not a repository name": _wrong(_GITHUB, "repository", "full_name", value="a/-rf"),
    "'..' is not a repository": _wrong(_GITHUB, "repository", "full_name", value="a/.."),
    "full_name is 1": _wrong(_GITHUB, "repository", "full_name", value=1),
    "repository is 'x'": _wrong(_GITHUB, "repository", value="x"),
    "names no host": _wrong(_GITHUB, "repository", "html_url", value="ext::sh -c x"),
    "names no  host": _wrong(_GITHUB, "repository", "html_url", value="http://[1/x"),
    "project is None": _wrong(_GITLAB, "project", value=None),
    "changes is {}": _wrong(_BITBUCKET, "push", "changes", value={}),
    "changes has no entries": _wrong(_BITBUCKET, "push", "changes", value=[]),
    "changes has 101 refs": _wrong(
        _BITBUCKET,
        *("push", "changes"),
        value=[
            {"old": None, "new": {"type": "branch", "name": f"b{n}", "target": {"hash": "a" * 40}}}
            for n in range(101)
        ],
    ),
    "names the refs []": _wrong(_BITBUCKET, "push", "changes", value=[{}]),
    "changes[].new is 1": _wrong(_BITBUCKET, *_CHANGE, "new", value=1),
    "type 'bookmark'": _wrong(_BITBUCKET, *_CHANGE, "new", "type", value="bookmark"),
    "not one": _wrong(_BITBUCKET, *_CHANGE, "new", "name", value="other"),
    "target is None": _wrong(_BITBUCKET, *_CHANGE, "new", "target", value=None),
    "neither a CodeCommit": message(b"{}", {"X-GitHub-Event": "push"}),
    "is not JSON": message(b"hello", {"X-GitHub-Event": "push"}),
    "is JSON, but not an object": message(b"[]", {"X-GitHub-Event": "push"}),
    "a form, not JSON": message(b"payload=%7B%7D", {"X-GitHub-Event": "push"}),
    "is not base64": message(b'{"headers": {}, "body": "*", "isBase64Encoded": true}'),
    "of type int": message(b'{"headers": {}, "body": 1}'),
    "isBase64Encoded 'yes'": message(b'{"headers": {}, "body": "", "isBase64Encoded": "yes"}'),
}


@pytest.mark.parametrize(("reason", "made"), _WRONG.items(), ids=list(_WRONG))
def test_a_payload_that_is_not_a_push_is_rejected_with_its_reason(
    reason: str, made: Message
) -> None:
    """The reason names the field and the value, and is one printable line."""
    with pytest.raises(Reject) as caught:
        hosts().read(made)
    assert reason.replace("  ", " ") in caught.value.reason
    assert caught.value.reason.isprintable()


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path] * bool(path) + [p for step, v in inner for p in _paths(v, (*path, step))]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_place = st.sampled_from([(kind, path) for kind in ForgeKind for path in _paths(payload(kind))])


@given(_place, _json)
def test_any_value_of_a_field_is_handled(
    place: tuple[ForgeKind, tuple[str | int, ...]], value: object
) -> None:
    """Any value anywhere in a payload makes pushes, an ignored event, or a rejection."""
    kind, path = place
    reasons: list[str] = []
    events: tuple[Push | Nothing | Reject, ...] = ()
    try:
        events = hosts().read(_wrong(kind, *path, value=value))
    except Reject as error:
        reasons.append(str(error))
    assert all(reason.isprintable() for reason in reasons)
    assert events or reasons
    for event in events:
        if isinstance(event, Push):
            assert event.repository.path.count("/") == 2
            assert event.ref.isprintable()


@given(st.binary(max_size=64), st.dictionaries(st.text(max_size=12), st.text(max_size=12)))
def test_any_bytes_are_handled(raw: bytes, attributes: dict[str, str]) -> None:
    """Bytes that are not a JSON object are rejected, whatever headers they have."""
    with pytest.raises(Reject):
        hosts().read(message(raw, {**attributes, "X-GitHub-Event": "push"}))


@pytest.mark.parametrize("kind", ForgeKind)
def test_a_truncated_payload_is_rejected(kind: ForgeKind) -> None:
    """Cut at any byte it is rejected, and accepted whole."""
    raw = orjson.dumps(payload(kind))
    for length in range(0, len(raw), 37):
        with pytest.raises(Reject):
            hosts().read(message(raw[:length], headers(kind, raw)))


# --- several refs, each independent ---------------------------------------------------------------

_GOOD = st.from_regex(r"[a-z]{1,8}", fullmatch=True).map(lambda name: f"refs/heads/{name}")
_BAD = st.sampled_from(["refs/heads/a..b", "refs/heads/", "refs/tags/x.lock", "main", "", 7, None])
_OTHER = st.sampled_from(["refs/notes/commits", "refs/changes/01/1/1", "refs/pull/1/head"])
_CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("good"), _GOOD),
        st.tuples(st.just("bad"), _BAD),
        st.tuples(st.just("other"), _OTHER),
        st.tuples(st.just("gone"), _GOOD),
    ),
    min_size=1,
    max_size=8,
)


@given(_CHANGES)
def test_an_unreadable_ref_leaves_the_others_alone(
    changes: list[tuple[str, object]],
) -> None:
    """Good ones are pushes, in their order; bad ones are named; others need no build."""
    made = payload(ForgeKind.BITBUCKET_SERVER)
    made["changes"] = [
        {
            "ref": {"id": ref},
            "fromHash": "a" * 40,
            "toHash": "0" * 40 if what == "gone" else "b" * 40,
            "type": "UPDATE",
        }
        for what, ref in changes
    ]
    good = [ref for what, ref in changes if what == "good"]
    bad = [ref for what, ref in changes if what == "bad"]
    understood = [what for what, _ in changes if what in {"good", "gone"}]
    if bad and not understood:
        with pytest.raises(Reject):
            hosts().read(delivered(ForgeKind.BITBUCKET_SERVER, made))
        return
    events = hosts().read(delivered(ForgeKind.BITBUCKET_SERVER, made))
    assert [event.ref for event in events if isinstance(event, Push)] == good
    assert len([event for event in events if isinstance(event, Reject)]) == len(bad)
    assert len([event for event in events if isinstance(event, Nothing)]) == (not good and not bad)
    ids = [event.id for event in events if isinstance(event, Push)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("owner", ["acme", "ACME", "Acme"])
def test_capitals_do_not_lead_to_another_entrys_secret(owner: str) -> None:
    """The forge ignores case, so the first entry that names the repository counts."""
    read = MessageReader(
        [
            Host("github.com", ForgeKind.GITHUB, ("acme/*",), secrets=lambda: ("theirs",)),
            Host("github.com", ForgeKind.GITHUB, secrets=lambda: (SECRET,)),
        ]
    ).read
    made = payload(ForgeKind.GITHUB)
    made["repository"]["full_name"] = f"{owner}/web"
    with pytest.raises(Reject, match="does not fit"):
        read(delivered(ForgeKind.GITHUB, made))
    (push,) = read(delivered(ForgeKind.GITHUB, made, secret="theirs"))
    assert isinstance(push, Push)
    assert push.repository.owner == owner


def test_one_body_under_two_ids_is_recognised() -> None:
    """Signed parts alone identify a body; two refs of one body are two pushes."""
    body = orjson.dumps(payload(ForgeKind.GITHUB))
    told = headers(ForgeKind.GITHUB, body)
    pushes = [
        hosts().read(message(body, {**told, "X-GitHub-Delivery": id_}))[0] for id_ in ("a", "b")
    ]
    assert all(isinstance(each, Push) and each.body_id for each in pushes)
    assert len({each.body_id for each in pushes if isinstance(each, Push)}) == 1


_REQUEST: dict[str, Any] = {
    "asyncbuild": "push",
    "version": 1,
    "repository": {"account": "123456789012", "region": "eu-west-1", "name": "web"},
    "ref": "refs/heads/main",
    "commit": "tip",
    "source": "schedule",
    "time": "2026-11-01T10:23:43Z",
}


def test_a_request_of_a_trusted_sender_is_a_push() -> None:
    """A message without anything of a webhook comes from who may send to the queue."""
    push = _one(message(orjson.dumps(_REQUEST)))
    assert push.terms is not None
    assert push.terms.source == "schedule"


def test_a_request_for_a_host_without_an_entry_is_refused() -> None:
    """A typing error never fetches from a server that is not configured."""
    known = {"account": "github.com", "region": "acme", "name": "web"}
    assert _one(message(orjson.dumps(_REQUEST | {"repository": known}))).terms is not None
    other = known | {"account": "github.example"}
    with pytest.raises(Reject, match=r"request for github[.]example/acme/web, which no"):
        hosts().read(message(orjson.dumps(_REQUEST | {"repository": other})))


_BODIES: dict[str, Callable[[ForgeKind], object]] = {
    "request": lambda _kind: _REQUEST,
    "request in a payload": lambda kind: payload(kind) | _REQUEST,
    "payload in a request": lambda kind: _REQUEST | payload(kind),
    "request that is an envelope": lambda _kind: (
        _REQUEST | {"headers": {}, "body": json.dumps(_REQUEST)}
    ),
    "event of CodeCommit": lambda _kind: envelope(),
}


@pytest.mark.parametrize("secret", [SECRET, "another", None])
@pytest.mark.parametrize("made", _BODIES)
@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("kind", ForgeKind)
def test_a_webhook_is_never_a_request(
    kind: ForgeKind, form: str, made: str, secret: str | None
) -> None:
    """A gateway lets everyone in: its bodies ask for nothing but signed pushes of their forge."""
    document = _BODIES[made](kind)
    if form == "raw":
        told = delivered(kind, document, secret=secret)
    else:
        told = _FORMS[form](kind, document)
    for reader in (hosts(), hosts(signature=Signature.OFF), MessageReader()):
        try:
            events = reader.read(told)
        except Reject:
            continue
        pushes = [each for each in events if isinstance(each, Push)]
        assert all(each.terms is None and each.repository.is_foreign for each in pushes)


@given(
    st.dictionaries(
        st.sampled_from([*KEPT, *(name.upper() for name in KEPT)]), st.text(max_size=3), min_size=1
    )
)
def test_one_header_of_a_webhook_is_enough(attributes: dict[str, str]) -> None:
    """A gateway sets one at least, whatever the request lacks."""
    told = message(orjson.dumps(_REQUEST), attributes)
    if {name.lower() for name in attributes} == {"webhook-sent"}:
        return  # of a dead letter that was sent back, which no gateway sets
    with contextlib.suppress(Reject):
        assert all(isinstance(each, Nothing) for each in hosts().read(told))


# --- events that only their payload tells apart ---------------------------------------------------

_NAMELESS: dict[str, dict[str, Any]] = {
    "a created branch of GitHub": {"ref": "x", "ref_type": "branch", "sender": {"login": "mary"}},
    "a star": {"action": "created", "sender": {"login": "mary"}, "repository": {}},
    "an advisory, which has no sender": {"action": "published", "security_advisory": {}},
    "a pull request of Bitbucket Cloud": {"pullrequest": {}, "actor": {}, "repository": {}},
    "a pull request of Azure DevOps": {
        "eventType": "git.pullrequest.created",
        "publisherId": "tfs",
        "resource": {},
    },
    "a build of Azure DevOps": {"eventType": "build.complete", "publisherId": "tfs"},
    "a cache of GitHub Enterprise": {
        "ref": "refs/heads/main",
        "before": "a" * 40,
        "after": "b" * 40,
        "repository": payload(ForgeKind.GITHUB)["repository"],
        "sender": {"login": "mary"},
    },
    "a mirror with too many refs": {
        "eventKey": "mirror:repo_synchronized",
        "refLimitExceeded": True,
        "repository": {},
    },
}


@pytest.mark.parametrize("document", _NAMELESS.values(), ids=list(_NAMELESS))
def test_events_without_a_name_are_nothing_to_do(document: dict[str, Any]) -> None:
    """A gateway may leave the header out; such an event is neither a push nor a dead letter."""
    assert _nothing(message(orjson.dumps(document))).reason


@pytest.mark.parametrize("header", ["X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event"])
def test_a_push_that_lacks_its_fields_is_not_ignored(header: str) -> None:
    """Its header says that it is a push, so a payload of another shape is a fault."""
    made = payload(ForgeKind.GITHUB)
    del made["after"]
    with pytest.raises(Reject, match="neither"):
        hosts().read(message(orjson.dumps(made), {header: "push"}))


def test_a_mirror_of_bitbucket_data_center_tells_what_it_took() -> None:
    """The refs of `mirror:repo_synchronized` are pushes as those of `repo:refs_changed`."""
    kind = ForgeKind.BITBUCKET_SERVER
    made = {**payload(kind), "eventKey": "mirror:repo_synchronized", "syncType": "INCREMENTAL"}
    assert _EXPECTED[kind] == _one(delivered(kind, made))


def test_a_personal_repository_of_bitbucket_data_center_has_an_owner_with_a_tilde() -> None:
    """Its project's key begins with one; an owner elsewhere does not."""
    made = payload(ForgeKind.BITBUCKET_SERVER)
    made["repository"]["project"] = {"key": "~mary"}
    push = _one(delivered(ForgeKind.BITBUCKET_SERVER, made))
    assert push.repository == Repository.of_host("git.acme.example", "~mary", "web")
    for key in ("~", "~~mary", "ma~ry", "~../x"):
        made["repository"]["project"] = {"key": key}
        with pytest.raises(Reject, match="owner"):
            hosts().read(delivered(ForgeKind.BITBUCKET_SERVER, made))


@pytest.mark.parametrize("kind", [ForgeKind.GITEA, ForgeKind.FORGEJO])
def test_githubs_signature_is_enough_of_gitea(kind: ForgeKind) -> None:
    """Gitea and Forgejo send it beside their own, which counts where both are."""
    body = orjson.dumps(payload(kind))
    of_github = headers(ForgeKind.GITHUB, body)
    assert _EXPECTED[kind] == _one(message(body, of_github))
    own = {name: value for name, value in headers(kind, body).items() if "Signature" in name}
    (name,) = own
    with pytest.raises(Reject, match="does not fit"):
        hosts().read(message(body, {**of_github, name: "0" * 64}))


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !", "Bearer secret", "Basic " + base64.b64encode(b"x").decode()]
)
def test_a_login_of_another_form_is_not_a_password_of_azure_devops(header: str) -> None:
    """No password, or not by basic authentication."""
    body = orjson.dumps(payload(ForgeKind.AZURE_DEVOPS))
    with pytest.raises(Reject, match="does not fit"):
        hosts(secrets=("secret", "")).read(message(body, {"Authorization": header}))


@pytest.mark.parametrize(
    ("url", "owner", "name"),
    [
        ("https://dev.azure.com/acme/_git/web", "acme", "web"),
        (
            "https://dev.azure.com/acme/Web%20Platform/_git/web.shop",
            "acme/Web Platform",
            "web.shop",
        ),
        ("https://x:1@dev.azure.com/acme/a/b/_git/web", "acme/a/b", "web"),
    ],
)
def test_the_place_of_a_repository_of_azure_devops(url: str, owner: str, name: str) -> None:
    """The URL tells organization, project and repository."""
    made = payload(ForgeKind.AZURE_DEVOPS)
    made["resource"]["repository"]["remoteUrl"] = url
    push = _one(delivered(ForgeKind.AZURE_DEVOPS, made))
    assert push.repository == Repository.of_host("dev.azure.com", owner, name)


@pytest.mark.parametrize("name", ["..", "%20web", "web%20", "a%20%20b", "a%2Fb", "a%0Ab", "-a%20b"])
def test_names_of_azure_devops_are_checked(name: str) -> None:
    """A space is allowed inside, between two other characters; nothing else is new."""
    made = payload(ForgeKind.AZURE_DEVOPS)
    made["resource"]["repository"]["remoteUrl"] = f"https://dev.azure.com/acme/p/_git/{name}"
    with pytest.raises(Reject, match="is not a repository name"):
        hosts().read(delivered(ForgeKind.AZURE_DEVOPS, made))
