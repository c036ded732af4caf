"""Output of `asyncbuild build`: lines while it goes on, or one JSON object at the end."""

import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any

from asyncbuild.commands.build.build_outcome import WaitEnd
from asyncbuild.commands.build.build_watch import BuildWatch
from asyncbuild.commands.explain_results import dumped, started_id_of
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.domain.requests.push_request import PushRequest

_MINUTE = 60
_INDENT = 8 * " "


class BuildTold:
    """Tells how one request goes on.

    Args:
        about: Fields `event_id`, `repository`, `ref` and `commit` of the push.
        as_json: Tell nothing until the end, then one object.
    """

    def __init__(self, about: Mapping[str, Any], *, as_json: bool) -> None:
        self._about = {name: about.get(name) for name in _ABOUT}
        self._as_json = as_json
        self._begun = time.monotonic()

    @property
    def question(self) -> str:
        """Command line that tells the end later."""
        place = self._about["repository"] or {}
        path = "/".join(str(place.get(name)) for name in ("account", "region", "name"))
        return f"asyncbuild explain {shlex.quote(path)} {self._about['event_id']}"

    def tell(self, line: str) -> None:
        """Print a line of news with the time since the begin; further lines are indented."""
        if self._as_json:
            return
        minutes, seconds = divmod(int(time.monotonic() - self._begun), _MINUTE)
        first, *rest = line.split("\n")
        lines = [f"{minutes:3d}:{seconds:02d}  {plain(first)}", *(_INDENT + plain(r) for r in rest)]
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()

    def say_goes_on(self) -> None:
        """Say that an interrupted wait has stopped nothing."""
        sys.stderr.write(f"\nThe build goes on. Its end: {self.question}\n")

    def finish(self, watch: BuildWatch, end: WaitEnd) -> int:
        """Print the end, and return the exit code of the command.

        Args:
            watch: Has the records and results.
            end: The end.
        """
        if self._as_json:
            sys.stdout.write(to_json(self._document(watch, end), newline=True).decode())
        elif end is WaitEnd.UNFINISHED:
            self.tell(f"the time is up, and the build goes on; its end: {self.question}")
        elif end is not WaitEnd.SENT:
            self.tell(_WORDS[end])
        return end.exit_code

    def _document(self, watch: BuildWatch, end: WaitEnd) -> Mapping[str, Any]:
        records = []
        for each in watch.records:
            of = started_id_of(each)
            found = None if of is None else watch.results.get(of)
            records.append(dumped({**each, "result": found}) if of is not None else each)
        return {"outcome": end, **self._about, "records": records}


def fields_of(request: PushRequest) -> Mapping[str, Any]:
    """Return a request as the fields that a record has."""
    place = request.repository.segments._asdict()
    return {
        "event_id": request.id,
        "repository": place,
        "ref": request.ref,
        "commit": request.commit,
    }


_ABOUT = ("event_id", "repository", "ref", "commit")
_WORDS = {
    WaitEnd.PASSED: "passed",
    WaitEnd.FAILED: "failed",
    WaitEnd.REJECTED: "refused; the message is a dead letter",
    WaitEnd.NOT_BUILT: "nothing was built",
}
