"""Of the requests that nobody signed the first of each host and hour become dead letters."""

from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from support.records import Records
from support.webhooks import SECRET, SENT, delivered, headers, hosts, message, payload

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.quota import MOST, Quota
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.senders import Hosts, Unverified


async def test_the_first_of_a_host_and_hour_are_kept() -> None:
    """By all tasks together; the first without a place is told apart; another hour begins anew."""
    records = Records()
    one, other = (Quota(Ledger(records, prefix="ledger/")) for _ in range(2))
    sent = message("{}")
    for number in range(MOST):
        assert await (one, other)[number % 2].take(sent, "github.com") == (True, False)
    assert await one.take(sent, "github.com") == (False, True)
    assert await one.take(sent, "github.com") == (False, False)
    assert await one.take(sent, "gitlab.com") == (True, False)
    later = replace(sent, sent=SENT + timedelta(hours=1))
    assert await other.take(later, "github.com") == (True, False)
    assert len(records.kept) == MOST + 2


async def test_a_flood_costs_no_object() -> None:
    """Nor does what is remembered grow with the hours."""
    records = Records()
    quota = Quota(Ledger(records, prefix="ledger/"))
    for _ in range(1_000):
        await quota.take(message("{}"), "github.com")
    for hour in range(200):
        await quota.take(message("{}"), f"host-{hour}")
    assert len(records.kept) == MOST + 200
    assert len(quota._taken) <= 64


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps(payload(ForgeKind.GITHUB)),
        b"no JSON",
        b'{"ref": "x", "after": 1, "repository": {"id": 1}}',
        b'{"headers": {}, "body": 1}',
        orjson.dumps({**payload(ForgeKind.GITHUB), "ref": "refs/heads/a..b"}),
    ],
)
def test_what_nobody_signed_is_told_apart(body: bytes) -> None:
    """Whatever else is wrong with it: the one who has the secret is rejected, and not counted."""
    told = {"Webhook-Host": "github.com", **headers(ForgeKind.GITHUB, body, secret="another")}
    with pytest.raises(Unverified):
        hosts().read(message(body, told))
    with pytest.raises(Unverified):
        hosts().read(message(body, {**told, "X-Hub-Signature-256": "none"}))


def test_what_is_signed_and_wrong_is_a_dead_letter() -> None:
    """However many there are."""
    made = {**payload(ForgeKind.GITHUB), "ref": "refs/heads/a..b"}
    with pytest.raises(Reject) as raised:
        hosts().read(delivered(ForgeKind.GITHUB, made, secret=SECRET))
    assert not isinstance(raised.value, Unverified)


@pytest.mark.parametrize("body", [b'{"headers": {}, "body": 1}', b'{"some": "thing"}'])
def test_without_hosts_there_are_no_webhooks(body: bytes) -> None:
    """Who sends to such a queue is trusted: each of its messages is kept."""
    with pytest.raises(Reject) as raised:
        Hosts().read(message(body))
    assert not isinstance(raised.value, Unverified)
