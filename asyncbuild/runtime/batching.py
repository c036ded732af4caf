"""Batching of questions that are asked at the same time."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Round(Generic[Question, Answer]):
    questions: dict[Question, None] = field(default_factory=dict)
    answers: Mapping[Question, Answer] | None = None


class Batcher(Generic[Question, Answer]):
    """Asks waiting callers' questions in one call at a time; later callers join the next call.

    A call begins after each of its questions was put, so an answer is never older than its
    question.

    Args:
        ask: Answers questions; omits those without an answer.
    """

    def __init__(
        self, ask: Callable[[Sequence[Question]], Awaitable[Mapping[Question, Answer]]]
    ) -> None:
        self._ask = ask
        self._lock = anyio.Lock()
        self._next: _Round[Question, Answer] = _Round()
        self._users = 0

    @property
    def idle(self) -> bool:
        """True if no caller waits for an answer."""
        return self._users == 0

    async def get(self, question: Question) -> Answer | None:
        """Return the answer, or None; the next waiter repeats a call that failed or was cancelled.

        Raises:
            StageError: As the call.
        """
        mine = self._next
        mine.questions[question] = None
        self._users += 1
        try:
            async with self._lock:
                if mine.answers is None:
                    if mine is self._next:
                        self._next = _Round()
                    mine.answers = await self._ask(tuple(mine.questions))
                return mine.answers.get(question)
        finally:
            self._users -= 1
