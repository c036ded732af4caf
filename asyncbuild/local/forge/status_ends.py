"""Verification of commit statuses: the forge's state against the ends of the stand-in's builds.

asyncbuild itself is not asked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.domain.reports.commit_status import STATE_OF, StatusState
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.local.forge.forge_standin import CommitContext, ForgeStandin
from asyncbuild.local.forge.hosting import status_of
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.verify import Pushed

_PENDING: Final = StatusState.PENDING


@dataclass(slots=True)
class StatusFindings:
    """Faults of the statuses, each as a sentence; `states` has the state of each build's commit.

    Attributes:
        states: State that the forge shows, by the id of the build.
        pending: Statuses of ended builds that are still pending.
        wrong: Statuses that are missing, in another state, of no build, or were posted backwards.
        posts: Posts of each commit, context and state.
    """

    states: dict[str, StatusState] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    posts: Counter[tuple[CommitContext, StatusState]] = field(default_factory=Counter)

    @property
    def faults(self) -> list[str]:
        """All faults, of every kind."""
        return [*self.pending, *self.wrong]


def count_ended(forge: ForgeStandin) -> int:
    """Return the number of statuses that are not pending."""
    return sum(status.state is not _PENDING for status in forge.statuses.values())


def builds_of(
    pushes: Iterable[Pushed], started: Iterable[AcceptedStart], names: Iterable[str]
) -> dict[CommitContext, list[AcceptedStart]]:
    """Return the builds that share each status, in the order of their pushes: the last owns it.

    Args:
        pushes: All pushes.
        started: Builds of the service, in any order.
        names: Names of the repositories on the forge.
    """
    known, hosted = {push.id: push for push in pushes}, frozenset(names)
    builds: dict[CommitContext, list[tuple[tuple[int, str], AcceptedStart]]] = {}
    for build in started:
        push = known.get(build.variables.get(EVENT_ID, ""))
        if push is None or push.commit is None or push.repository not in hosted:
            continue
        at = status_of(push.repository, push.commit, build.project)
        order = (int(push.time), push.id)  # a webhook tells whole seconds
        builds.setdefault(at, []).append((order, build))
    return {
        at: [build for _, build in sorted(each, key=itemgetter(0))] for at, each in builds.items()
    }


def compare_statuses(
    forge: ForgeStandin,
    builds: Mapping[CommitContext, Sequence[AcceptedStart]],
    truth: Callable[[str], StatusState],
) -> StatusFindings:
    """Compare what the forge shows with the ends of builds.

    Args:
        forge: State of the forge.
        builds: Builds that share each status, as `builds_of` returns them.
        truth: Returns the state that a build's status has to have, by the id of the build.
    """
    findings = StatusFindings(posts=Counter((at, kept.state) for at, kept in forge.history))
    for at, of_commit in builds.items():
        build = of_commit[-1]
        status, wanted = forge.statuses.get(at), truth(build.build)
        if status is None:
            findings.wrong.append(f"{_show(at)} has no status of {build.build}")
            continue
        findings.states[build.build] = status.state
        if status.state is _PENDING is not wanted:
            findings.pending.append(f"{_show(at)} is pending, though {build.build} has ended")
        elif status.state is not wanted:
            findings.wrong.append(f"{_show(at)} is {status.state}, not {wanted}: {build.build}")
    unknown = [at for at in forge.statuses if at not in builds]
    findings.wrong += [f"{_show(at)} has a status, but no build" for at in unknown]
    findings.wrong += _iter_backwards(forge, builds)
    return findings


def truth_of(standin: CodeBuildStandin, id_: str) -> StatusState:
    """Return the state of a build's newest attempt, as its status has to show it.

    Args:
        standin: The stand-in that runs the build.
        id_: Id of the build.
    """
    seen: Mapping[str, object] = standin.build(id_).newest().seen_at(standin.clock())
    return STATE_OF[BuildStatus(str(seen["buildStatus"]).lower().replace("_", "-"))]


def _iter_backwards(
    forge: ForgeStandin, builds: Mapping[CommitContext, Sequence[AcceptedStart]]
) -> Iterator[str]:
    """Yield a sentence for each status that went back to pending without another build."""
    last, returns = dict[CommitContext, StatusState](), Counter[CommitContext]()
    for at, kept in forge.history:
        if kept.state is _PENDING and last.get(at, _PENDING) is not _PENDING:
            returns[at] += 1
        last[at] = kept.state
    for at, count in returns.items():
        if count >= len(builds.get(at, ())):
            yield f"{_show(at)} was posted as pending after an end, {count} times"


def _show(at: CommitContext) -> str:
    return f"{at.repository} {at.commit[:10]} {at.context}"
