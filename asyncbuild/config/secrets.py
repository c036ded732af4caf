"""References to secrets in settings; their values are never part of the configuration."""

import re
from typing import Annotated

from pydantic import AfterValidator

_REFERENCE = re.compile(
    r"""
    env:(?!ASYNCBUILD_)[A-Za-z_][A-Za-z0-9_]*
    | file:/[^\x00-\x1f]+
    | secretsmanager:[A-Za-z0-9/_+=.@:-]+(\#[^\x00-\x1f]+)?  # Secrets Manager API, SecretId
    """,
    re.VERBOSE,
)


def _checked_reference(reference: str) -> str:
    if not _REFERENCE.fullmatch(reference):
        msg = (
            'say where the secret is, not what it is: "env:NAME" (a NAME that does not begin with '
            'ASYNCBUILD_), "file:/PATH", "secretsmanager:NAME" or "secretsmanager:NAME#KEY"'
        )
        raise ValueError(msg)
    return reference


SecretReference = Annotated[str, AfterValidator(_checked_reference)]
"""Place of a secret: `env:NAME`, `file:/PATH`, `secretsmanager:NAME-OR-ARN`, there with `#KEY`."""
