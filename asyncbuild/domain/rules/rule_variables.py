"""Variables that a rule may set for its builds."""

import re

OWN_VARIABLES = frozenset(
    {
        *("COMMIT_ID", "TAG_ID", "BRANCH_NAME", "REPOSITORY_NAME", "REF"),
        *("OLD_COMMIT_ID", "BASE_COMMIT_ID", "PUSHER", "EVENT_ID"),
    }
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def variable_fault(name: str) -> str | None:
    """Return why a rule may not set the environment variable `name` for a build; None if it may.

    Source: CodeBuild User Guide, "Environment variables in build environments".
    """
    if not _VARIABLE.fullmatch(name):
        return f"{name!r} is not a name for a variable; use letters, digits and _"
    if name.upper().startswith("CODEBUILD_"):
        return f"{name}: CodeBuild keeps names that begin with CODEBUILD_; choose another"
    if name in OWN_VARIABLES:
        return f"{name} is set by asyncbuild for every build; choose another name"
    return None
