"""Empty repositories in which git runs when it reads the objects of others.

They are a few small files, the same for every version of this service that shares the cache: other
contents need another name.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

WITHOUT_EXPORTS: Final = "-without-exports"
# gitattributes(5): $GIT_DIR/info/attributes takes precedence over every .gitattributes.
_NO_EXPORTS: Final = "* -export-ignore -export-subst\n"
_FORMATS: Final = (("sha1", 0, ""), ("sha256", 1, "[extensions]\n\tobjectFormat = sha256\n"))


def write_empties(directory: Path) -> list[Path]:
    """Write each file that is missing or has another content, and return those written.

    Contents are compared: a failure of power may leave a file empty or full of zeros, and git takes
    an empty `info/attributes` for one that says nothing.

    Args:
        directory: Where the repositories are: `sha1.git`, `sha1-without-exports.git`, the same
            for sha256.

    Raises:
        OSError: One cannot be read or written.
    """
    written = []
    for name, version, extension in _FORMATS:
        config = f"[core]\n\tbare = true\n\trepositoryFormatVersion = {version}\n{extension}"
        files = {"HEAD": "ref: refs/heads/none\n", "config": config}
        without = {**files, "info/attributes": _NO_EXPORTS}
        written += _write(directory / f"{name}.git", files)
        written += _write(directory / f"{name}{WITHOUT_EXPORTS}.git", without)
    return written


def _write(repository: Path, files: Mapping[str, str]) -> list[Path]:
    for part in ("objects", "refs", "info"):
        (repository / part).mkdir(parents=True, exist_ok=True)
    wrong = [file for file, text in files.items() if _read(repository / file) != text.encode()]
    for file in wrong:
        path = repository / file
        beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")  # other processes do the same
        beside.write_text(files[file])
        beside.replace(path)
    return [repository / file for file in wrong]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
