"""Changes of a push: what it changed and its message, as far as rules ask; what they leave out."""

from collections.abc import Sequence
from dataclasses import replace

from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.contents.known_changes import KnownChanges, history_name
from asyncbuild.domain.errors import Unreachable
from asyncbuild.domain.model import Push, Target
from asyncbuild.domain.reports.skipped_target import skipped_targets
from asyncbuild.domain.requests.request_targets import requested_targets
from asyncbuild.domain.rules.route import (
    NOTHING_KNOWN,
    asked_histories,
    asked_markers,
    asked_since_push,
    compare_targets,
    route,
)
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.skip_markers import find_markers
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.content_digests import digest_contents
from asyncbuild.pushes.ancestry import OpensSnapshots
from asyncbuild.pushes.work import PreparedPush, Work


class ChangeFinder:
    """Finds out what pushes changed and say, and which targets are left out for that.

    Args:
        archives: Makes commits of pushes present.
        ledger: Records of pushes that were built.
        contents: Histories of contents.
        settings: All settings.
    """

    def __init__(
        self,
        archives: OpensSnapshots,
        ledger: Ledger,
        contents: ContentLedger,
        settings: Settings,
    ) -> None:
        self._archives = archives
        self._ledger = ledger
        self._contents = contents
        self._rules = rules_of(settings)
        self._supersedes = settings.lanes.superseded == "skip"
        self._variables = settings.builds.request_variables

    async def find(self, work: Work, push: Push) -> KnownChanges:
        """Return what a push changed and says, as far as rules ask; else nothing is read.

        Args:
            work: The message of the push.
            push: The push.

        Raises:
            StageError: Ledger or repository could not be read.
        """
        # A build beside the order is wanted whatever was built last.
        asked = asked_since_push(push, self._rules) if push.joins_order else []
        compared = asked_histories(push, self._rules)
        since = await self._find_base(push) if asked else ""
        markers = asked_markers(push, self._rules)
        if not (asked and since) and not compared and not markers:
            return NOTHING_KNOWN
        found = KnownChanges(base=since)
        try:
            async with self._archives.open_snapshot(work, push) as snapshot:
                if markers:
                    message = await snapshot.read_message()
                    found = replace(found, markers=find_markers(message, markers))
                if asked and since:
                    unchanged = await snapshot.find_unchanged(since, asked)
                    found = replace(found, unchanged=unchanged)
                if compared:
                    found = await self._compare(push, snapshot, compared, found)
        except Unreachable:
            return NOTHING_KNOWN
        return found

    async def look_again(self, prepared: PreparedPush) -> PreparedPush:
        """Return a push as what was started and has passed by now leaves it, in its turn.

        While it was prepared, pushes ahead of it were not started yet.

        Raises:
            StageError: The ledger could not be read.
        """
        push, known = prepared.push, prepared.changes
        if not known.histories:
            return prepared
        before = self.route(push, known)
        known = replace(
            known, histories=await self._contents.find(push.repository, tuple(known.histories))
        )
        after = self.route(push, known)
        new = [each for each in after if each not in before]
        undone = (*prepared.targets, *(await self._ledger.find_undone(push, new) if new else ()))
        targets = tuple(each for each in after if each in undone)
        return self.fill(replace(prepared, targets=targets), known)

    def route(self, push: Push, known: KnownChanges) -> tuple[Target, ...]:
        """Return what a push asks for, by the rules and by what it changed.

        Args:
            push: The push.
            known: What it changed.

        Raises:
            Reject: It is a request for what the rules do not permit.
        """
        routed = route(push, self._rules, known)
        return requested_targets(push, routed, variables=self._variables)

    def fill(self, prepared: PreparedPush, known: KnownChanges) -> PreparedPush:
        """Return a prepared push with what was left out of it, and what the rest is compared with.

        Args:
            prepared: The push and its targets.
            known: What it changed.
        """
        if known is NOTHING_KNOWN:
            return prepared
        push = prepared.push
        return replace(
            prepared,
            changes=known,
            skipped=skipped_targets(push, self._rules, known),
            compared=compare_targets(push, self._rules, known),
        )

    async def _find_base(self, push: Push) -> str:
        """Return the commit before a push.

        A push may cover older ones of its ref, so its own changes may not be all: then it is
        compared with what was built last.
        """
        if self._supersedes:
            return await self._ledger.find_built_before(push)
        return push.old_commit or ""

    async def _compare(
        self,
        push: Push,
        snapshot: Snapshot,
        compared: Sequence[tuple[Rule, Target]],
        found: KnownChanges,
    ) -> KnownChanges:
        """Add the contents that rules ask for, and their histories.

        Variables of a request make its builds others than those of the rules: they are not compared
        with anything.
        """
        if push.terms is not None and push.terms.variables:
            return found
        contents = await digest_contents(snapshot, [rule.changes for rule, _ in compared])
        names = dict.fromkeys(history_name(push.ref, rule, target) for rule, target in compared)
        histories = await self._contents.find(push.repository, tuple(names))
        found = replace(found, contents=contents, histories=histories)
        return found if push.joins_order else found.without_skips()
