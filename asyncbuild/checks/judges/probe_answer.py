"""A question about AWS, the answer that was found, and what follows from it. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class ProbeVerdict(StrEnum):
    """What a probe found out."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Answer:
    """One question and what became of it.

    Attributes:
        name: Which question, the same in every run: `events.message-group`.
        question: In words.
        verdict: Yes, no, or that it cannot be told here.
        seen: What was seen, or why nothing could be.
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
        """It is so."""
        return Answer(self.name, self.text, ProbeVerdict.YES, seen, self.effect)

    def no(self, seen: str) -> Answer:
        """It is not."""
        return Answer(self.name, self.text, ProbeVerdict.NO, seen, self.effect)

    def unknown(self, why: str) -> Answer:
        """It cannot be told here."""
        return Answer(self.name, self.text, ProbeVerdict.UNKNOWN, why, self.effect)
