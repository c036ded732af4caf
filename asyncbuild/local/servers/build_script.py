"""Courses of the stand-in's builds: their phases, durations and ends, fixed or drawn from a seed.

Nothing runs. A script says when each phase of a build begins and how it ends; the rest follows from
the clock. Sources (API = AWS CodeBuild API Reference, guide = its user guide):

- Phases and their order (API, BuildPhase, phaseType). After a failed INSTALL or PRE_BUILD comes
  FINALIZING; after a failed BUILD, POST_BUILD runs all the same (guide, "Build phase transitions").
- The words for a failed command, `COMMAND_EXECUTION_ERROR` and `... Reason: exit status 1` (guide,
  "Troubleshooting"). Those for FAULT and TIMED_OUT are not documented; here they are likely ones.
- The phase that a build is in has neither status nor end (guide, "View build details", sample).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from asyncbuild.local.servers.aws_json import Document

# Phases after PROVISIONING, each with its share of the time that a build is at work.
_WORK = {
    "DOWNLOAD_SOURCE": 0.1,
    "INSTALL": 0.05,
    "PRE_BUILD": 0.05,
    "BUILD": 0.6,
    "POST_BUILD": 0.1,
    "UPLOAD_ARTIFACTS": 0.05,
    "FINALIZING": 0.05,
}
_COMMANDS = {
    "INSTALL": "pip install -r requirements.txt",
    "PRE_BUILD": "make lint",
    "BUILD": "make test",
    "POST_BUILD": "make package",
}
_RUN_AFTER = {  # a failure in the phase: the later phases that run all the same
    "BUILD": {"POST_BUILD", "UPLOAD_ARTIFACTS", "FINALIZING"},
    "POST_BUILD": {"UPLOAD_ARTIFACTS", "FINALIZING"},
}
_WITHOUT_WORK = {"QUEUED": set[str](), "PROVISIONING": set[str]()}  # nothing of it has run
_USUAL_PHASES = {
    "FAILED": "BUILD",
    "FAULT": "PROVISIONING",
    "TIMED_OUT": "BUILD",
    "STOPPED": "BUILD",
}
_OTHER_FAILURES = {
    "DOWNLOAD_SOURCE": ("YAML_FILE_ERROR", "YAML file does not exist"),
    "PROVISIONING": (
        "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE",
        "Unable to pull customer's container image. CannotPullContainerError: not found",
    ),
}


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a build's course, with its status and, of a failure, CodeBuild's words."""

    type: str
    seconds: float
    status: str = "SUCCEEDED"
    code: str = ""
    message: str = ""

    def document(self, begun: float, *, until: float | None) -> Document:
        """Return the phase as BatchGetBuilds has it.

        Args:
            begun: When it began, in epoch seconds.
            until: When it ended; None if it goes on.
        """
        if until is None:
            return {"phaseType": self.type, "startTime": begun}
        context = {"statusCode": self.code, "message": self.message}
        return {
            "phaseType": self.type,
            "phaseStatus": self.status,
            "startTime": begun,
            "endTime": until,
            "durationInSeconds": round(until - begun),
            **({"contexts": [context]} if self.type in _WORK or self.code else {}),
        }


@dataclass(frozen=True, slots=True)
class Script:
    """Course of a build: times in seconds, and its end.

    `phase` is the one that ends otherwise than well, by default one that fits the status.
    """

    queued_seconds: float = 0.5
    build_seconds: float = 2.0
    status: str = "SUCCEEDED"
    provisioning_seconds: float = 0.0
    phase: str = ""
    exit_code: int = 1

    def iter_phases(self) -> Iterator[Phase]:
        """Yield the phases that the build goes through, except COMPLETED."""
        bad = self.phase or _USUAL_PHASES.get(self.status, "")
        after = _WITHOUT_WORK.get(bad, {"FINALIZING"})
        if self.status == "FAILED":
            after = _RUN_AFTER.get(bad, after)
        failed = False
        for type_, seconds in self._iter_planned():
            if type_ == bad:
                failed = True
                yield self._bad_phase(type_, seconds)
            elif not failed or type_ in after:
                yield Phase(type_, seconds)

    @property
    def seconds(self) -> float:
        """Seconds from the start of the build to its end."""
        return sum(phase.seconds for phase in self.iter_phases())

    def _iter_planned(self) -> Iterator[tuple[str, float]]:
        yield "SUBMITTED", self.queued_seconds / 2
        yield "QUEUED", self.queued_seconds / 2
        yield "PROVISIONING", self.provisioning_seconds
        for type_, share in _WORK.items():
            yield type_, share * self.build_seconds

    def _bad_phase(self, type_: str, seconds: float) -> Phase:
        code, message = "", ""
        if self.status == "TIMED_OUT":
            code, message = "BUILD_TIMED_OUT", "Build has timed out. "
        elif self.status == "FAULT":
            code, message = "INTERNAL_SERVICE_ERROR", "Internal Service Error"
        elif self.status == "FAILED":
            command = _COMMANDS.get(type_, "")
            said = f"Error while executing command: {command}. Reason: exit status {self.exit_code}"
            words = ("COMMAND_EXECUTION_ERROR", said)
            code, message = _OTHER_FAILURES.get(type_, words)
        return Phase(type_, seconds, self.status, code, message)


@dataclass(frozen=True, slots=True)
class SeededScripts:
    """Scripts drawn from a seed: a share of the builds fails, and others end otherwise.

    Equal seeds and keys give equal scripts. Times are drawn between two bounds, in seconds.
    """

    seed: int = 1
    failed: float = 0.2
    fault: float = 0.0
    timed_out: float = 0.0
    stopped: float = 0.0
    queued_seconds: tuple[float, float] = (0.0, 0.2)
    provisioning_seconds: tuple[float, float] = (0.1, 0.3)
    build_seconds: tuple[float, float] = (0.5, 1.5)

    def draw(self, key: str) -> Script:
        """Return the script of the build that `key` names."""
        random = Random(f"{self.seed}/{key}")  # noqa: S311 - repeatable, not secret
        status = self._draw_status(random)
        phase, exit_code = "", 1
        if status == "FAILED":
            phases = ["DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD", "BUILD", "BUILD"]
            phase, exit_code = random.choice(phases), random.choice([1, 2, 101, 137])
        return Script(
            queued_seconds=random.uniform(*self.queued_seconds),
            provisioning_seconds=random.uniform(*self.provisioning_seconds),
            build_seconds=random.uniform(*self.build_seconds),
            status=status,
            phase=phase,
            exit_code=exit_code,
        )

    def _draw_status(self, random: Random) -> str:
        left = random.random()
        shares = {
            "FAILED": self.failed,
            "FAULT": self.fault,
            "TIMED_OUT": self.timed_out,
            "STOPPED": self.stopped,
        }
        for status, share in shares.items():
            left -= share
            if left < 0:
                return status
        return "SUCCEEDED"
