"""Keys of the ledger's objects, so that a listing is in order of time. Pure.

Layout below the prefix:

    push/ACCOUNT/REGION/REPOSITORY/TIME-EVENT/TARGET.json   a record
    once/ACCOUNT/REGION/REPOSITORY/EVENT/TARGET.json        where it is, if TIME is a delivery's
    head/ACCOUNT/REGION/REPOSITORY/REF.json                 the newest push built of a ref
    force/ACCOUNT/REGION/REPOSITORY/EVENT.json              build it although a newer one was
    force/EVENT.json                                        the same, for versions before that
    body/ACCOUNT/REGION/REPOSITORY/DIGEST.json              a webhook's body that was settled
    unverified/HOST/HOUR/N.json                             a request without a good signature
    unverified/HOST/nothing/HOUR/N.json                     the same that asks for nothing
    try/MESSAGE/N                                           a try that its process may have died of
    rejected/TIME-MESSAGE.json                              a message that was no push
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from asyncbuild.domain.model import Action, Nothing, Push, Target
from asyncbuild.domain.repository import Repository

_TIME = "%Y%m%dT%H%M%SZ"
_TIME_LENGTH = len("20261101T102343Z")
# Versions before this one wrote no `once/`. What they started is looked for this far back.
_LISTED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """Keys below one prefix, which is empty or ends in a slash."""

    prefix: str

    def record(self, push: Push, slot: str) -> str:
        """Return the key of a push's record; `slot` is what `slot_of` returns, or `rejected`."""
        when = push.time.strftime(_TIME)
        return f"{self.pushes_of(push.repository)}{when}-{push.id}/{slot}.json"

    def is_record(self, key: str, push: Push, slot: str) -> bool:
        """Return whether `key` is that of the push's record, whatever the time in it."""
        rest = key.removeprefix(self.pushes_of(push.repository))
        return rest[_TIME_LENGTH:] == f"-{push.id}/{slot}.json"

    def nothing(self, event: Nothing, *, message_id: str, when: datetime) -> str:
        """Return the key for an event that asked for no build, of a message sent at `when`."""
        if event.repository is None:
            return self.rejected(message_id, when=when)
        moment = when.strftime(_TIME)
        return f"{self.pushes_of(event.repository)}{moment}-{event.id}/nothing.json"

    def rejected(self, message_id: str, *, when: datetime) -> str:
        """Return the key for a message, sent at `when`, that was no push."""
        return f"{self.prefix}rejected/{when.strftime(_TIME)}-{message_id}.json"

    def once(self, push: Push, slot: str) -> str:
        """Return the key that tells where the record is of a push whose event names no time."""
        return f"{self.prefix}once/{push.repository.path}/{push.id}/{slot}.json"

    def head(self, push: Push) -> str:
        """Return the key of the newest push built of this push's ref."""
        ref = hashlib.sha256(push.ref.encode()).hexdigest()
        return f"{self.prefix}head/{push.repository.path}/{ref}.json"

    def body(self, push: Push) -> str:
        """Return the key that a signed webhook body was settled under."""
        return f"{self.prefix}body/{push.repository.path}/{push.body_id}.json"

    def force(self, push: Push) -> str:
        """Return the key that lets a push be built although a newer one was."""
        return f"{self.prefix}force/{push.repository.path}/{push.id}.json"

    def old_force(self, push: Push) -> str:
        """Return the key that versions without the repository in it use for `force`."""
        return f"{self.prefix}force/{push.id}.json"

    def unverified(self, host: str, hour: str, number: int) -> str:
        """Return the key of one of an hour's places for requests without a good signature."""
        return f"{self.prefix}unverified/{host}/{hour}/{number}.json"

    def tries(self, message_id: str) -> str:
        """Return what the keys of a message's tries begin with."""
        return f"{self.prefix}try/{message_id}/"

    @property
    def pushes(self) -> str:
        """Beginning of the keys of all pushes."""
        return f"{self.prefix}push/"

    def pushes_of(self, repository: Repository) -> str:
        """Return what the keys of a repository's pushes begin with."""
        return f"{self.pushes}{repository.path}/"

    def since(self, repository: Repository, time: datetime) -> str:
        """Return the key behind which those of a repository's pushes from `time` on are."""
        return self.pushes_of(repository) + time.strftime(_TIME)

    def listed_before(self, push: Push) -> str:
        """Return the key from which on to list for a record that has no `once`."""
        return self.since(push.repository, push.time - _LISTED)


def slot_of(target: Target | None) -> str:
    """Return the last part of a record's key: one for each target of a push."""
    if target is None or target.action is Action.IGNORE:
        return "ignore"
    if target.action is Action.PIPELINE:
        return f"pipeline-{target.pipeline}"
    if target.action is Action.BUILD:
        return f"build-{target.project}"
    # Several rules may upload different archives of one push.
    return f"upload-{hashlib.sha256(target.key.encode()).hexdigest()[:12]}"
