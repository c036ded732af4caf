"""Options of a rule for its archive: which part of a commit goes in, and in which form. Pure.

The words are those of git: a *subtree* becomes the archive's root, as if `git archive` was called
in that directory; *paths* are pathspecs (gitglossary(7)), relative to it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_COMPONENT_BYTES_MOST: Final = 255  # of a name in most file systems
_PATH_LENGTH_MOST: Final = 1_024
_LONG_MAGIC: Final = re.compile(r":\(([^)]*)\)(.*)", re.DOTALL)
_SHORT_MAGIC: Final = re.compile(r":([!^]+):?(.*)", re.DOTALL)
_MAGIC: Final = frozenset({"exclude", "glob", "icase", "literal"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


class ExportAttributes(StrEnum):
    """Effect of `export-ignore` and `export-subst` (gitattributes(5)) on an archive."""

    HONOUR = "honour"  # as git archive does
    IGNORE = "ignore"  # every file goes in, unchanged


class Submodules(StrEnum):
    """Contents of an archive at the path of a submodule."""

    EMPTY = "empty"  # an empty directory, as git archive leaves it
    INCLUDE = "include"  # the submodule's tree, and those of its own submodules


class Lfs(StrEnum):
    """Contents of an archive at the path of a file that Git LFS keeps."""

    POINTERS = "pointers"  # the pointer that is in the tree
    CONTENT = "content"  # the contents that it points at


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Selection from a commit for an archive. The default is all that `git archive` writes.

    Attributes:
        subtree: A directory that becomes the archive's root; empty for the whole tree. Attributes
            in the directories above it apply, too: its entries equal those of the archive of the
            whole tree.
        paths: Pathspecs, relative to `subtree`; empty for everything.
        export_attributes: Whether `export-ignore` and `export-subst` apply.
        submodules: Whether the trees of submodules go in.
        lfs: Whether the contents of LFS files go in.
    """

    subtree: str = ""
    paths: tuple[str, ...] = ()
    export_attributes: ExportAttributes = ExportAttributes.HONOUR
    submodules: Submodules = Submodules.EMPTY
    lfs: Lfs = Lfs.POINTERS

    @property
    def digest(self) -> str:
        """Digest that is equal for options that give equal archives; empty for the default.

        Part of keys, fingerprints and formats: an archive of other options is never taken for one
        of these.
        """
        if self == WHOLE:
            return ""
        # Digests are in keys: an option that was added later must not change those of the others.
        later = "+lfs" if self.lfs is Lfs.CONTENT else ""
        words = (self.subtree, self.export_attributes, f"{self.submodules}{later}")
        text = "\0".join((*words, *sorted(set(self.paths))))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


WHOLE: Final = ArchiveOptions()  # all that git archive gives


def parse_options(
    *,
    subtree: str,
    paths: Sequence[str],
    ignore_export_attributes: bool,
    submodules: bool = False,
    lfs: bool = False,
) -> ArchiveOptions:
    """Return the options that a command line names.

    Args:
        subtree: Value of `--subtree`; empty for the whole tree.
        paths: Values of `--path`.
        ignore_export_attributes: Put every file in, unchanged by `export-ignore` and
            `export-subst`.
        submodules: Put the trees of submodules in.
        lfs: Put the contents of LFS files in.

    Raises:
        ValueError: An option is wrong; the text names it and its fault.
    """
    try:
        checked = check_subtree(subtree) if subtree else ""
    except ValueError as error:
        msg = f"--subtree {subtree!r} {error}"
        raise ValueError(msg) from error
    selected = []
    for each in paths:
        try:
            selected.append(check_pathspec(each))
        except ValueError as error:
            msg = f"--path {each!r} {error}"
            raise ValueError(msg) from error
    exports = ExportAttributes.IGNORE if ignore_export_attributes else ExportAttributes.HONOUR
    return ArchiveOptions(
        subtree=checked,
        paths=tuple(selected),
        export_attributes=exports,
        submodules=Submodules.INCLUDE if submodules else Submodules.EMPTY,
        lfs=Lfs.CONTENT if lfs else Lfs.POINTERS,
    )


def check_subtree(subtree: str) -> str:
    """Return a directory's path inside a repository, taken literally, without a slash at its end.

    Raises:
        ValueError: `subtree` is not such a path.
    """
    path = subtree.removesuffix("/")
    fault = _path_fault(path)
    if fault or not path:
        msg = f"{fault or 'is empty'}; name a directory of the repository, such as services/api"
        raise ValueError(msg)
    return path


def check_pathspec(pathspec: str) -> str:
    """Return a pathspec that git takes, and that stays inside the tree.

    `!docs` excludes, as `:(exclude)docs` does; a name that begins with `!` is `:(literal)!x`.

    Raises:
        ValueError: `pathspec` is not one, or has magic that an archive has no use for.
    """
    magic, path = split_pathspec(pathspec)
    if not magic <= _MAGIC:
        unknown = ", ".join(sorted(magic - _MAGIC))
        msg = f"has the magic {unknown!r}; there are {', '.join(sorted(_MAGIC))}"
        raise ValueError(msg)
    if {"glob", "literal"} <= magic:
        raise ValueError("cannot be both glob and literal; leave one out")
    path = path.removesuffix("/")
    fault = _path_fault(path)
    if fault or not path:
        msg = f"{fault or 'is empty'}; write a pathspec, such as services/api or libs/*.py"
        raise ValueError(msg)
    return f":(exclude){path}" if pathspec.startswith("!") else pathspec


def place_pathspecs(subtree: str, pathspecs: Sequence[str]) -> list[str]:
    """Return checked pathspecs of a checked subtree, relative to the whole tree.

    The subtree becomes a `prefix` magic word, which git takes literally, whatever magic the rest
    has (pathspec.c; git's own commands pass pathspecs to each other in this form).
    """
    if not subtree:
        return list(pathspecs)
    above = f"{subtree}/"
    length = f"prefix:{len(above.encode('utf-8', 'surrogateescape'))}"
    placed = []
    only_excluded = True
    for each in pathspecs:
        magic, path = split_pathspec(each)
        only_excluded &= "exclude" in magic
        placed.append(f":({','.join([*sorted(magic), length])}){above}{path}")
    return [f":(literal){subtree}", *placed] if only_excluded else placed


def split_pathspec(pathspec: str) -> tuple[frozenset[str], str]:
    """Return the magic words of a pathspec, and its path (gitglossary(7), pathspec).

    Raises:
        ValueError: It begins with a colon, but not with known magic.
    """
    if pathspec.startswith("!"):  # to git a plain name, to users of other systems an exclusion
        return frozenset({"exclude"}), pathspec[1:]
    if not pathspec.startswith(":"):
        return frozenset(), pathspec
    if long := _LONG_MAGIC.fullmatch(pathspec):
        return frozenset(word.strip() for word in long[1].split(",") if word.strip()), long[2]
    if short := _SHORT_MAGIC.fullmatch(pathspec):
        return frozenset({"exclude"}), short[2]
    raise ValueError(
        "begins with a colon, which is magic; write :(exclude)…, :(glob)…, :(icase)… or, for a "
        "name that begins with a colon, :(literal)…"
    )


def _path_fault(path: str) -> str:
    """Return why a text is not a path inside a tree; empty if it is one."""
    components = path.split("/") if path else []
    longest = max((len(part.encode("utf-8", "surrogatepass")) for part in components), default=0)
    faults = {
        "begins at the root of a file system": path.startswith("/"),
        "has an empty part, or . or ..": bool({"", ".", ".."} & set(components)),
        "leads into .git, which no tree has": ".git" in path.lower().split("/"),
        "has a control character": bool(_CONTROL.search(path)),
        "is not Unicode text": bool(_SURROGATE.search(path)),
        "is too long": longest > _COMPONENT_BYTES_MOST or len(path) > _PATH_LENGTH_MOST,
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")
