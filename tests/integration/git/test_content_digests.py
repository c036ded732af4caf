"""Digests of what pathspecs match: equal exactly where git finds nothing that changed."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

import pytest
from support.mirrors import MAIN, Site, open_site, repository

from asyncbuild.domain.archive_options import check_pathspec
from asyncbuild.git.formats.matched_content import parse_literal
from asyncbuild.git.tree.content_digests import digest_contents

_PATHS: Final = (
    *("a", "a.b", "a-b", "a/b", "a/b/c", "a/b/c/d", "a/bc", "ab", "ü/x", "[f]/x", "e/x", "m"),
)
_PLAIN: Final = (
    *(("a",), ("a/",), ("a/b",), ("a/b/",), ("a.b",), ("missing", "e"), ("m",), ("ü",)),
    *(("!a",), ("!a/b", "!m"), ("a", "!a/b"), ("a/b", "!a"), ("a", "!a/b/"), ("a", "a/b/c")),
    *((":(literal)[f]",), (":(exclude,literal)[f]",), (":^a/b/c", "a/b"), ("m/",), ("!m/",)),
)
_WILD: Final = (("a*",), (":(glob)a/*",), ("*/c", "!a/b"), (":(icase)A/B",), ("[f]",), ("!a?b",))


def _change(site: Site, random: Random) -> str:
    """Commit a change of some paths: contents, modes, kinds; return the commit."""
    stream = b"commit refs/heads/main\ncommitter C <c@e> 1700000500 +0000\ndata 0\n"
    if site.source.tip("main"):
        stream += b"from refs/heads/main^0\n"
    for path in random.sample(_PATHS, random.randint(1, 3)):
        name = path.encode()
        match random.randrange(6):
            case 0:
                stream += b"D %s\n" % name
            case 1:
                stream += b"M 160000 %s %s\n" % (str(random.randrange(2)).encode() * 40, name)
            case 2:
                stream += b"M 120000 inline %s\ndata 1\n%d\n" % (name, random.randrange(2))
            case _:
                mode = random.choice((b"100644", b"100755"))
                stream += b"M %s inline %s\ndata 1\n%d\n" % (mode, name, random.randrange(2))
    site.source.git("fast-import", "--quiet", "--force", stdin=stream)
    return site.source.tip("main") or ""


@pytest.mark.parametrize("seed", range(3))
async def test_digests_are_equal_where_git_sees_no_change(tmp_path: Path, seed: int) -> None:
    """Content that changed is never taken for the same; the same content is always known again."""
    random = Random(seed)  # noqa: S311 - reproducible
    asked = [tuple(map(check_pathspec, each)) for each in (*_PLAIN, *_WILD)]
    assert all(parse_literal(each) for each in asked[: len(_PLAIN)])
    assert not any(parse_literal(each) for each in asked[len(_PLAIN) :])
    async with open_site(tmp_path) as site, site.open_mirrors(depth=0) as mirrors:
        commits = [_change(site, random) for _ in range(12)]
        found = []
        for commit in commits:
            async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
                found.append(await digest_contents(snapshot, asked))
        same = 0
        for (old, before), (new, after) in pairwise(zip(commits, found, strict=True)):
            async with mirrors.open(repository(), ref=MAIN, commit=new) as snapshot:
                unchanged = await snapshot.find_unchanged(old, asked)
            assert [each for each in asked if before[each] == after[each]] == unchanged
            same += len(unchanged)
    assert 0 < same < 11 * len(asked)


async def test_a_digest_is_the_same_without_a_git_that_stays(site: Site) -> None:
    """Of a git that is too old for that, or too busy, and in another repository."""
    asked = [("a",), ("!a/b",)]
    commit = site.source.commit({"a/b/c": b"1", "a/d": b"2", "e": b"3"})
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
    ):
        alone = replace(snapshot, reader=snapshot.reader.alone())
        assert await digest_contents(alone, asked) == await digest_contents(snapshot, asked)
