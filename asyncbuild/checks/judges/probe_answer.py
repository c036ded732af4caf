"""Questions about AWS, their answers, and what follows from them. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class ProbeVerdict(StrEnum):
    """Result of a probe."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Answer:
    """One question and its answer.

    Attributes:
        name: Name of the question, the same in every run: `events.message-group`.
        question: Question in words.
        verdict: Yes, no, or that it cannot be told here.
        seen: Observation, or the reason why there is none.
        effect: What the service does about it, whatever the answer.
    """

    name: str
    question: str
    verdict: ProbeVerdict
    seen: str
    effect: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question before its answer."""

    name: str
    text: str
    effect: str

    def yes(self, seen: str) -> Answer:
        """Return the answer yes, with what was seen."""
        return Answer(self.name, self.text, ProbeVerdict.YES, seen, self.effect)

    def no(self, seen: str) -> Answer:
        """Return the answer no, with what was seen."""
        return Answer(self.name, self.text, ProbeVerdict.NO, seen, self.effect)

    def unknown(self, why: str) -> Answer:
        """Return the answer unknown, with why the question cannot be answered here."""
        return Answer(self.name, self.text, ProbeVerdict.UNKNOWN, why, self.effect)
