from typing import Any

from cfnlint.api import Match

def decode(filename: str) -> tuple[dict[str, Any], list[Match]]: ...
