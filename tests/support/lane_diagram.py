"""The table of a lane's state machine as the diagram that ARCHITECTURE.md shows."""

from typing import TYPE_CHECKING

from asyncbuild.queue.lane.transitions import TABLE

if TYPE_CHECKING:
    from asyncbuild.queue.lane.protocol import State


def diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    edges: dict[tuple[State, State], list[str]] = {}
    for (state, event), targets in TABLE.items():
        for target in sorted(targets):
            if target is not state:
                name = event.__name__ if event else "turn"
                edges.setdefault((state, target), []).append(name)
    lines = ["stateDiagram-v2", "    [*] --> waiting"]
    lines += [f"    {a} --> {b}: {', '.join(names)}" for (a, b), names in edges.items()]
    return "\n".join([*lines, "    settled --> [*]", "    dropped --> [*]: Release"])
