"""Keys of the ledger's objects, built so that a listing is in order of time. Pure.

Layout below the prefix:

    push/ACCOUNT/REGION/REPOSITORY/TIME-EVENT/TARGET.json   a record
    once/ACCOUNT/REGION/REPOSITORY/EVENT/TARGET.json        its key, if TIME is a delivery's
    head/ACCOUNT/REGION/REPOSITORY/REF.json                 the newest push built of a ref
    tip/ACCOUNT/REGION/REPOSITORY/EVENT.json                the commit of a request for a tip
    answer/ACCOUNT/REGION/REPOSITORY/EVENT.json             where the records of a request are
    service/push-messages.json                              since when push messages are read
    force/ACCOUNT/REGION/REPOSITORY/EVENT.json              lets it be built after a newer one
    force/EVENT.json                                        the same, as older versions wrote it
    body/ACCOUNT/REGION/REPOSITORY/DIGEST.json              a webhook body that was settled
    unverified/HOST/HOUR/N.json                             a request without a good signature
    unverified/HOST/nothing/HOUR/N.json                     such a request that asks for no build
    try/MESSAGE/N                                           a try that may have killed its process
    rejected/TIME-MESSAGE.json                              a message that was no push
    result/ACCOUNT/REGION/REPOSITORY/TIME-EVENT/TARGET.json how the build of that record ended
    started/KIND/NAME/ID.json                               which record a build belongs to
    unfinished/KIND/NAME/ID                                 the mark of an unfinished build
    reported/ACCOUNT/REGION/REPOSITORY/DIGEST.json          the commit status that was posted last
    snapshot/ACCOUNT/REGION/REPOSITORY.json                 its refs as the last round saw them
    round/reconcile.json                                    the newest round over all repositories
    outcome/ACCOUNT/REGION/REPOSITORY/DIGEST.json           the newest ends of a ref and project
    unsent/TIME-DIGEST.json                                 outcome events that wait to be sent
    passed/ACCOUNT/REGION/REPOSITORY/DIGEST.json            content that was started and that passed
    running/ACCOUNT/REGION/REPOSITORY/DIGEST/ID.json        a build that a newer push may stop
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from asyncbuild.domain.model import Action, Nothing, Push, Target
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import StartedId, StartedKind

_TIME = "%Y%m%dT%H%M%SZ"
_TIME_LENGTH = len("20261101T102343Z")
# Older versions wrote no `once/`. Builds that they started are searched for this far back.
_LISTED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class LedgerKeys:
    """Keys below one prefix, which is empty or ends in a slash."""

    prefix: str

    def record(self, push: Push, slot: str) -> str:
        """Return the key of a push's record; `slot` is what `slot_of` returns, or `rejected`.

        Args:
            push: The push, whose time and id are in the key.
            slot: Name of the target.
        """
        return f"{self.records_of(push)}{slot}.json"

    def records_of(self, push: Push) -> str:
        """Return the prefix of the keys of a push's records."""
        return f"{self.pushes_of(push.repository)}{push.time.strftime(_TIME)}-{push.id}/"

    def is_record(self, key: str, push: Push, slot: str) -> bool:
        """Return whether `key` is that of the push's record, whatever time it contains.

        Args:
            key: Key of an object of the ledger.
            push: The push.
            slot: Name of the target, as for `record`.
        """
        rest = key.removeprefix(self.pushes_of(push.repository))
        return rest[_TIME_LENGTH:] == f"-{push.id}/{slot}.json"

    def nothing(self, event: Nothing, *, message_id: str, when: datetime) -> str:
        """Return the key for an event that asked for no build.

        Args:
            event: The event.
            message_id: Id of its message, used if the event names no repository.
            when: When the message was sent.
        """
        if event.repository is None:
            return self.rejected(message_id, when=when)
        moment = when.strftime(_TIME)
        return f"{self.pushes_of(event.repository)}{moment}-{event.id}/nothing.json"

    def rejected(self, message_id: str, *, when: datetime) -> str:
        """Return the key for a message, sent at `when`, that was no push."""
        return f"{self.prefix}rejected/{when.strftime(_TIME)}-{message_id}.json"

    def once(self, push: Push, slot: str) -> str:
        """Return the key of the object that names the record of a push whose event has no time."""
        return f"{self.prefix}once/{push.repository.path}/{push.id}/{slot}.json"

    def head(self, push: Push) -> str:
        """Return the key of the newest push built of this push's ref."""
        return self.head_of(push.repository, push.ref)

    def head_of(self, repository: Repository, ref: str) -> str:
        """Return the key of the newest push built of a ref."""
        name = hashlib.sha256(ref.encode()).hexdigest()
        return f"{self.heads_of(repository)}{name}.json"

    def heads_of(self, repository: Repository) -> str:
        """Return the prefix of the keys of the heads of a repository's refs."""
        return f"{self.heads}{repository.path}/"

    @property
    def heads(self) -> str:
        """Prefix of the keys of all heads."""
        return f"{self.prefix}head/"

    @property
    def snapshots(self) -> str:
        """Prefix of the keys of all snapshots of refs."""
        return f"{self.prefix}snapshot/"

    def snapshot(self, repository: Repository) -> str:
        """Return the key of the snapshot of a repository's refs."""
        return f"{self.snapshots}{repository.path}.json"

    @property
    def newest_round(self) -> str:
        """Key of the newest round over all repositories."""
        return f"{self.prefix}round/reconcile.json"

    def tip(self, push: Push) -> str:
        """Return the key of the commit that a request for a ref's tip means."""
        return f"{self.prefix}tip/{push.repository.path}/{push.id}.json"

    def answer(self, repository: Repository, event_id: str) -> str:
        """Return the key of the object that names the records of a settled request."""
        return f"{self.prefix}answer/{repository.path}/{event_id}.json"

    @property
    def reads_requests(self) -> str:
        """Key of the mark of versions that read push messages."""
        return f"{self.prefix}service/push-messages.json"

    def body(self, push: Push) -> str:
        """Return the key under which a signed webhook body was recorded as settled."""
        return f"{self.prefix}body/{push.repository.path}/{push.body_id}.json"

    def force(self, push: Push) -> str:
        """Return the key whose object lets a push be built although a newer one was built."""
        return f"{self.prefix}force/{push.repository.path}/{push.id}.json"

    def old_force(self, push: Push) -> str:
        """Return the key that versions without the repository in it use for `force`."""
        return f"{self.prefix}force/{push.id}.json"

    def unverified(self, host: str, hour: str, number: int) -> str:
        """Return the key of one of an hour's places for requests without a good signature.

        Args:
            host: Name of the webhook's host.
            hour: The hour, as `%Y%m%dT%H`.
            number: Number of the place.
        """
        return f"{self.prefix}unverified/{host}/{hour}/{number}.json"

    def tries(self, message_id: str) -> str:
        """Return the prefix of the keys of a message's tries."""
        return f"{self.prefix}try/{message_id}/"

    def result(self, record: str) -> str:
        """Return the key of the result of the build of a record, whose key is `record`.

        It is not below `push/`, where older versions would list it as a record.
        """
        return f"{self.prefix}result/{record.removeprefix(self.pushes)}"

    def record_of_result(self, key: str) -> str:
        """Return the key of the record whose result has this key, as `result` made it."""
        return f"{self.pushes}{key.removeprefix(f'{self.prefix}result/')}"

    @property
    def all_results(self) -> str:
        """Prefix of the keys of all results."""
        return f"{self.prefix}result/"

    def results_of(self, repository: Repository) -> str:
        """Return the prefix of the keys of the results of a repository's builds."""
        return f"{self.prefix}result/{repository.path}/"

    def started(self, of: StartedId) -> str:
        """Return the key under which a started build's record is found."""
        return f"{self.prefix}started/{of.kind}/{of.name}/{of.number}.json"

    @property
    def all_unfinished(self) -> str:
        """Prefix of the keys of marks of unfinished builds."""
        return f"{self.prefix}unfinished/"

    def unfinished(self, of: StartedId) -> str:
        """Return the key that exists until the build was seen to end."""
        return f"{self.all_unfinished}{of.kind}/{of.name}/{of.number}"

    def read_unfinished(self, key: str) -> StartedId | None:
        """Return the build whose key `unfinished` returned; None for any other key."""
        kind, _, rest = key.removeprefix(self.all_unfinished).partition("/")
        name, _, number = rest.partition("/")
        kinds = {each.value: each for each in StartedKind}
        if kind not in kinds or not name or not number or "/" in number:
            return None
        return StartedId(kinds[kind], name, number)

    def reported(self, repository: Repository, group: str) -> str:
        """Return the key of the status that was posted last, of the context that has this group."""
        return f"{self.prefix}reported/{repository.path}/{group}.json"

    def outcome(self, repository: Repository, ref: str, of: StartedId) -> str:
        """Return the key of the newest ends of a ref and of the project or pipeline of a build.

        Args:
            repository: The repository.
            ref: Full name of the ref.
            of: Any build or batch of the project, or execution of the pipeline.
        """
        kind = "pipeline" if of.kind is StartedKind.EXECUTION else "project"
        digest = hashlib.sha256(f"{ref}\n{kind}\n{of.name}".encode()).hexdigest()
        return f"{self.prefix}outcome/{repository.path}/{digest}.json"

    @property
    def all_unsent(self) -> str:
        """Prefix of the keys of outcome events that wait to be sent, which are in order of time."""
        return f"{self.prefix}unsent/"

    def unsent(self, event_id: str, *, when: datetime) -> str:
        """Return the key of outcome events that wait, of a build that ended at `when`.

        Args:
            event_id: Id of the first of the events.
            when: When the build ended.
        """
        return f"{self.all_unsent}{when.strftime(_TIME)}-{event_id}.json"

    def passed(self, repository: Repository, history: str) -> str:
        """Return the key of what was started and has passed, by the name of the history."""
        return f"{self.prefix}passed/{repository.path}/{history}.json"

    @property
    def all_running(self) -> str:
        """Prefix of the keys of all builds that a newer push may stop."""
        return f"{self.prefix}running/"

    def running_group(self, repository: Repository, ref: str, of: StartedId, *, rule: str) -> str:
        """Return the prefix of the keys of builds of one ref and rule in one project, or pipeline.

        Args:
            repository: The repository.
            ref: Full name of the ref.
            of: A build of the project.
            rule: Name of the rule: another one may let the project build something else.
        """
        digest = hashlib.sha256(f"{ref}\n{of.kind}\n{of.name}\n{rule}".encode()).hexdigest()
        return f"{self.all_running}{repository.path}/{digest}/"

    def running(self, repository: Repository, ref: str, of: StartedId, *, rule: str) -> str:
        """Return the key that exists until a build that a newer push may stop has ended.

        Args:
            repository: The repository.
            ref: Full name of the ref.
            of: The build.
            rule: Name of the rule that asked for it.
        """
        return f"{self.running_group(repository, ref, of, rule=rule)}{of.number}.json"

    @property
    def pushes(self) -> str:
        """Prefix of the keys of all pushes."""
        return f"{self.prefix}push/"

    def pushes_of(self, repository: Repository) -> str:
        """Return the prefix of the keys of a repository's pushes."""
        return f"{self.pushes}{repository.path}/"

    def since(self, repository: Repository, time: datetime) -> str:
        """Return a key after which a listing has a repository's pushes from `time` on."""
        return self.pushes_of(repository) + time.strftime(_TIME)

    def listed_before(self, push: Push) -> str:
        """Return the key at which to start listing for a record that has no `once`."""
        return self.since(push.repository, push.time - _LISTED)


def slot_of(target: Target | None) -> str:
    """Return the last part of a record's key, which differs for each target of a push."""
    if target is None or target.action is Action.IGNORE:
        return "ignore"
    if target.action is Action.PIPELINE:
        return f"pipeline-{target.pipeline}"
    if target.action is Action.BUILD:
        return f"build-{target.project}"
    # Several rules may upload different archives of one push.
    return f"upload-{hashlib.sha256(target.key.encode()).hexdigest()[:12]}"
