"""Made-up source trees and changes to them. Pure: the same seed gives the same bytes.

The trees contain what real ones do and what makes archivers fail: nested directories, an
executable, a symbolic link, a binary, an empty file, names with spaces and names beyond ASCII.
"""

from collections.abc import Mapping
from random import Random

FILE, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120000

File = tuple[int, bytes]  # git's mode, content
Files = dict[str, File]
Changes = Mapping[str, File | None]  # None: the path is deleted

_NOUNS = """
account address amount basket batch branch cache cart catalog charge client code count credit
currency customer daily date delivery device discount event export filter gateway group index
invoice item label ledger level limit line list member message money month name note number
offer order owner parcel partner payment period person price product query queue rate receipt
record refund region report request result return review route rule sale search session
shipment shop sign size stock store supplier table tax term ticket token total transfer unit
user value vendor voucher week weight zone
"""
_VERBS = (
    "add",
    "apply",
    "build",
    "check",
    "close",
    "count",
    "find",
    "load",
    "open",
    "read",
    "send",
)
_WORDS = _NOUNS.split()


def initial_tree(random: Random, name: str, *, modules: int, assets_bytes: int = 0) -> Files:
    """Return a repository's first tree: about `modules` source files, and binaries.

    Args:
        random: Source of randomness.
        name: Name of the repository, for its README.
        modules: Number of Python files.
        assets_bytes: Size of an additional binary; 0 for none.
    """
    files: Files = {
        "README.md": (FILE, f"# {name}\n\n{prose(random, 6)}".encode()),
        "buildspec.yml": (FILE, b"version: 0.2\nphases:\n  build:\n    commands:\n      - make\n"),
        "Makefile": (FILE, b"all:\n\t./scripts/build.sh\n"),
        "scripts/build.sh": (EXECUTABLE, b"#!/bin/sh\nset -eu\nexec python -m compileall src\n"),
        "scripts/build": (LINK, b"build.sh"),
        "assets/logo.png": (FILE, b"\x89PNG\r\n\x1a\n" + random.randbytes(40_000)),
        "assets/model.bin": (FILE, random.randbytes(400_000)),
        "docs/überblick.md": (FILE, prose(random, 12).encode()),
        "docs/価格 表.csv": (FILE, "商品,価格\nりんご,120\n".encode()),
        "docs/release notes.md": (FILE, prose(random, 4).encode()),
        "src/py.typed": (FILE, b""),
    }
    if assets_bytes:
        files["assets/atlas.bin"] = (FILE, random.randbytes(assets_bytes))
    while sum(path.endswith(".py") for path in files) < modules:
        files[_module_path(random)] = (FILE, module(random).encode())
    return files


def next_changes(random: Random, files: Files) -> Changes:
    """Return the changes of one more commit: a few edited modules, at times one new or deleted."""
    modules = sorted(path for path in files if path.endswith(".py"))
    changes: dict[str, File | None] = {
        path: (FILE, module(random).encode()) for path in random.sample(modules, 3)
    }
    match random.randrange(6):
        case 0:
            changes[_module_path(random)] = (FILE, module(random).encode())
        case 1:
            changes[random.choice(modules)] = None
        case 2:
            changes["assets/model.bin"] = (FILE, random.randbytes(400_000))
        case 3:
            mode, content = files["scripts/build.sh"]
            changes["scripts/build.sh"] = (mode, content + b"# again\n")
        case _:
            changes["CHANGELOG.md"] = (FILE, prose(random, 3).encode())
    return changes


def module(random: Random) -> str:
    """Return the text of a made-up Python module, which compiles."""
    lines = [f'"""{_sentence(random)}"""', ""]
    for _ in range(random.randint(3, 12)):
        noun, other, third = random.sample(_WORDS, 3)
        lines += [
            "",
            f"def {random.choice(_VERBS)}_{noun}({other}: int, {third}: int = 0) -> int:",
            f'    """{_sentence(random)}"""',
            f"    {noun} = {other} * {random.randint(2, 99)} + {third}",
            f"    return {noun} if {noun} > {random.randint(1, 999)} else {other}",
            "",
        ]
    return "\n".join(lines)


def prose(random: Random, sentences: int) -> str:
    """Return made-up sentences, a line each."""
    return "".join(f"{_sentence(random)}\n" for _ in range(sentences))


def _sentence(random: Random) -> str:
    words = random.choices(_WORDS, k=random.randint(4, 9))
    return f"{random.choice(_VERBS).capitalize()} the {' '.join(words)}."


def _module_path(random: Random) -> str:
    folders = random.sample(_WORDS, random.randint(1, 3))
    return f"src/{'/'.join(folders)}/{random.choice(_WORDS)}_{random.choice(_WORDS)}.py"
