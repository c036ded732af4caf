"""Questions asked at the same moment go into one call, and each gets its own answer."""

from collections.abc import Sequence

import anyio

from asyncbuild.domain.errors import Retry
from asyncbuild.runtime.batching import Batcher


class Oracle:
    """Answers once it is allowed to, for even numbers only."""

    def __init__(self, *, refusals: int = 0) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.asked = anyio.Event()
        self.may_answer = anyio.Event()
        self._refusals = refusals

    async def ask(self, questions: Sequence[int]) -> dict[int, str]:
        """Return answers for the even numbers."""
        self.calls.append(tuple(questions))
        self.asked.set()
        await self.may_answer.wait()
        if len(self.calls) <= self._refusals:
            raise Retry("not now")
        return {each: f"{each} is even" for each in questions if each % 2 == 0}


async def test_questions_during_a_call_share_the_next_call() -> None:
    """One call for the first question, one for all others; each gets only its own answer."""
    oracle = Oracle()
    together = Batcher(oracle.ask)
    answers: dict[int, str | None] = {}

    async def get(number: int) -> None:
        answers[number] = await together.get(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, 0)
        await oracle.asked.wait()
        for number in range(1, 8):
            tasks.start_soon(get, number)
        await anyio.wait_all_tasks_blocked()
        assert not together.idle
        oracle.may_answer.set()
    assert oracle.calls == [(0,), (1, 2, 3, 4, 5, 6, 7)]
    assert answers == {n: None if n % 2 else f"{n} is even" for n in range(8)}
    assert together.idle


async def test_questions_of_one_moment_share_a_call() -> None:
    """The first one does not wait, but the others of that moment go with it."""
    oracle = Oracle()
    oracle.may_answer.set()
    together = Batcher(oracle.ask)
    async with anyio.create_task_group() as tasks:
        for number in (2, 4, 2):
            tasks.start_soon(together.get, number)
    assert oracle.calls == [(2, 4)]


async def test_a_failure_reaches_only_the_caller_that_asked() -> None:
    """The others ask again."""
    oracle = Oracle(refusals=1)
    oracle.may_answer.set()
    together = Batcher(oracle.ask)
    outcomes: list[str | None] = []

    async def get(number: int) -> None:
        try:
            outcomes.append(await together.get(number))
        except Retry as error:
            outcomes.append(error.reason)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, 2)
        tasks.start_soon(get, 4)
    assert outcomes == ["not now", "4 is even"]


async def test_a_cancelled_caller_leaves_the_others_their_answer() -> None:
    """Calls go on even if the caller that started them is cancelled."""
    oracle = Oracle()
    together = Batcher(oracle.ask)
    first = anyio.CancelScope()
    answers: list[str | None] = []

    async def give_up() -> None:
        with first:
            await together.get(2)

    async def stay() -> None:
        answers.append(await together.get(4))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(give_up)
        tasks.start_soon(stay)
        await oracle.asked.wait()
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        oracle.may_answer.set()
    assert first.cancelled_caught
    assert answers == ["4 is even"]
    assert len(oracle.calls) == 2
