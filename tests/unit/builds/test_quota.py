"""Dead-letter quota of unsigned webhooks: the first of each host and hour are kept."""

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
from asyncbuild.forges.webhooks.senders import MessageReader, Unverified


async def test_the_first_of_each_host_and_hour_are_kept() -> None:
    """All tasks count together; the first that is dropped is reported.

    The next hour starts at zero.
    """
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


async def test_a_flood_writes_no_more_objects() -> None:
    """Memory does not grow with the hours either."""
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
def test_unverified_webhooks_are_told_from_signed_ones(body: bytes) -> None:
    """A sender with the right secret is rejected for the fault itself, and is not counted."""
    told = {"Webhook-Host": "github.com", **headers(ForgeKind.GITHUB, body, secret="another")}
    with pytest.raises(Unverified):
        hosts().read(message(body, told))
    with pytest.raises(Unverified):
        hosts().read(message(body, {**told, "X-Hub-Signature-256": "none"}))


def test_signed_webhooks_with_a_fault_are_all_dead_lettered() -> None:
    """No quota applies to them."""
    made = {**payload(ForgeKind.GITHUB), "ref": "refs/heads/a..b"}
    with pytest.raises(Reject) as raised:
        hosts().read(delivered(ForgeKind.GITHUB, made, secret=SECRET))
    assert not isinstance(raised.value, Unverified)


@pytest.mark.parametrize("body", [b'{"headers": {}, "body": 1}', b'{"some": "thing"}'])
def test_without_hosts_every_message_is_dead_lettered(body: bytes) -> None:
    """Without webhooks only trusted senders reach the queue, so each message is kept."""
    with pytest.raises(Reject) as raised:
        MessageReader().read(message(body))
    assert not isinstance(raised.value, Unverified)
