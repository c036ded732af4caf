"""Questions to git about attributes: files of a commit that set them, and their values."""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from tempfile import TemporaryDirectory

from asyncbuild.git.formats.tree_lines import parse_entry

Attributes = Mapping[bytes, tuple[int, str]]  # modes and ids of `.gitattributes`, by path
Run = Callable[..., Awaitable[bytes]]  # runs git in a repository: arguments, fields of `Command`


def directories_above(path: str) -> list[str]:
    """Return every directory above a path of a tree, the uppermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


async def read_above(run: Run, commit: str, subtree: str) -> Attributes:
    """Return the `.gitattributes` of the directories above a subtree.

    Args:
        run: Runs git.
        commit: Id of the commit.
        subtree: Path of the subtree.

    Raises:
        GitFailed: The repository cannot be read.
    """
    files = [".gitattributes", *(f"{each}/.gitattributes" for each in directories_above(subtree))]
    answer = await run(
        ("--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", *files)
    )
    entries = [parse_entry(line) for line in answer.split(b"\0")[:-1]]
    return {each.path: (each.mode, each.object_id) for each in entries if each.kind == "blob"}


async def look_up(
    run: Run, name: str, files: Mapping[bytes, str], paths: Iterable[bytes]
) -> dict[bytes, bytes]:
    """Return the value that `git check-attr` prints for one attribute, by path.

    Args:
        run: Runs git.
        name: Name of the attribute.
        files: Object ids of all `.gitattributes` that count, by path.
        paths: Paths to look up; those of directories end in a slash.

    Raises:
        GitFailed: git failed.
    """
    lines = [b"100644 %s\t%s\0" % (blob.encode(), path) for path, blob in files.items()]
    with TemporaryDirectory(prefix="asyncbuild-") as directory:
        environment = {"GIT_INDEX_FILE": f"{directory}/index"}
        arguments: tuple[str, ...] = ("update-index", "-z", "--add", "--index-info")
        await run(arguments, stdin=b"".join(lines), environment=environment)
        arguments = ("check-attr", "--cached", "-z", "--stdin", name)
        asked = b"".join(path + b"\0" for path in paths)
        answer = await run(arguments, stdin=asked, environment=environment)
    fields = answer.split(b"\0")
    return dict(zip(fields[:-1:3], fields[2::3], strict=True))


async def is_left_out(run: Run, above: Attributes, subtree: str) -> bool:
    """Return whether `export-ignore` leaves out a subtree, given the `.gitattributes` above it.

    Args:
        run: Runs git.
        above: The `.gitattributes` above the subtree.
        subtree: Path of the subtree.

    Raises:
        GitFailed: git failed.
    """
    if not above:
        return False
    files = {path: object_id for path, (_, object_id) in above.items()}
    places = [os.fsencode(f"{each}/") for each in (*directories_above(subtree), subtree)]
    return b"set" in (await look_up(run, "export-ignore", files, places)).values()
