"""Score of each module in a mutation run, and the mutants that survived it.

Reads the lines of `mutmut results --all true` from standard input.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

# Format of mutmut: `asyncbuild.domain.refs.x_check_ref__mutmut_3: killed`
_RESULT: Final = re.compile(r"\s*(?P<module>[\w.]+)\.(?P<name>x\S+__mutmut_\d+): (?P<status>.+)")
# A mutant that never ends, or that ends the process, is detected like one that fails a test.
NOTICED: Final = frozenset({"killed", "timeout", "segfault", "suspicious"})
UNTRIED: Final = "not checked"


def iter_report(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines to print: a row for each module, the sum, and the mutants that no test detected.

    Mutants that were not tried count for nothing.
    """
    counts: dict[str, Counter[bool]] = defaultdict(Counter)
    survivors: list[str] = []
    for line in lines:
        found = _RESULT.fullmatch(line.rstrip("\n"))
        if found is None or found["status"] == UNTRIED:
            continue
        noticed = found["status"] in NOTICED
        counts[found["module"]][noticed] += 1
        if not noticed:
            survivors.append(f"{found['module']}.{found['name']}: {found['status']}")
    for module, each in sorted(counts.items()):
        yield _row(module, each)
    yield _row("all", sum(counts.values(), Counter[bool]()))
    yield from survivors


def _row(name: str, counts: Counter[bool]) -> str:
    share = 100 * counts[True] / max(counts.total(), 1)
    return f"{name:<40} {counts[True]:>5} of {counts.total():>5} noticed, {share:5.1f} %"


if __name__ == "__main__":
    print("\n".join(iter_report(sys.stdin)))  # noqa: T201 - its output
