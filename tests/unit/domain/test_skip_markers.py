"""Texts in a commit's message that keep rules from building it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codebuild import make_push

from asyncbuild.domain.contents.known_changes import HasMarker, KnownChanges
from asyncbuild.domain.model import Action
from asyncbuild.domain.reports.skipped_target import SkippedTarget, skipped_targets
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.domain.rules.route import asked_changes, asked_markers, route
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.skip_markers import MARKER_MOST, check_marker, find_markers
from asyncbuild.git.formats.cat_file import message_of

_SKIP, _CI = "[skip ci]", "[ci skip]"
_HEADERS = b"tree " + b"1" * 40 + b"\nauthor A [skip ci] <a@b> 1 +0000\ncommitter C <c@d> 1 +0000\n"
_SIGNATURE = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n [skip ci]\n -----END PGP SIGNATURE-----\n"
_SAID = 'the commit\'s message has "[skip ci]"'


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (b"fix [skip ci]\n", [_SKIP]),
        (b"Fix\n\nbody\n\nReviewed-by: A <a@b>\nNote: [Skip CI]\n", [_SKIP]),
        ("für alle: [CI SKIP]".encode("latin-1"), [_CI]),
        ("[skip ci] \u30bd".encode("shift-jis"), [_SKIP]),
        (b"one\0two [skip ci]", [_SKIP]),
        (b"[ci skip][skip ci]", [_CI, _SKIP]),
        (b"skip ci", []),
        (b"[skip  ci]", []),
        (b"[skip\nci]", []),
        (b"", []),
    ],
)
def test_where_markers_are_found(message: bytes, found: list[str]) -> None:
    """In the whole message, in any case and encoding; white space is not stretched."""
    assert sorted(find_markers(message, [_SKIP, _CI])) == found


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_marker_may_have_other_letters(encoding: str) -> None:
    """It is found in both encodings that a message is read in."""
    assert find_markers("Ohne: [NICHT GRÜN]".encode(encoding), ["[nicht grün]"])


@given(st.binary(max_size=60), st.text(min_size=1, max_size=8), st.binary(max_size=60))
def test_a_marker_is_found_whatever_surrounds_it(before: bytes, marker: str, after: bytes) -> None:
    """ASCII in any bytes, and nothing fails."""
    find_markers(before, [marker])
    assert find_markers(before + b"[sKip ci]" + after, [_SKIP])


@pytest.mark.parametrize("extra", [b"", _SIGNATURE, b"encoding ISO-8859-1\n"])
def test_headers_are_no_message(extra: bytes) -> None:
    """Names of people and signatures may hold anything."""
    assert message_of(_HEADERS + extra + b"\nwords\n\nmore") == b"words\n\nmore"
    assert message_of(_HEADERS + extra) == b""


@pytest.mark.parametrize("marker", ["", "  ", "a\nb", "a\0", "x" * (MARKER_MOST + 1)])
def test_a_marker_that_would_match_all_or_nothing_is_refused(marker: str) -> None:
    """An empty one is in each message."""
    with pytest.raises(ValueError, match="is "):
        check_marker(marker)
    assert check_marker(" [skip ci]\t") == _SKIP


def _rule(name: str, *skip: str, final: bool = True, changes: tuple[str, ...] = ()) -> Rule:
    refs = ("refs/heads/*", "refs/tags/*")
    return Rule(
        *(name, ("*",), refs, Action.BUILD, (name,)), skip=skip, final=final, changes=changes
    )


_API, _REST = _rule("api", _SKIP), _rule("rest")
_OPEN = replace(_API, final=False)
_BOTH = replace(_API, changes=("api",))
_UNCHANGED = (("api",),)


@pytest.mark.parametrize(
    ("rules", "unchanged", "does"),
    [
        ([_API], (), f"api: {_SAID}"),
        ([_API, _REST], (), f"api: {_SAID}"),  # it matched, and is final
        ([_OPEN, _REST], (), ["rest"]),
        ([_OPEN, _rule("web", _CI)], (), ["web"]),
        ([_OPEN, _rule("web", _CI, _SKIP)], (), f"api: {_SAID}; web: {_SAID}"),
        ([_BOTH, _REST], (), f"api: {_SAID}"),
        ([_BOTH, _REST], _UNCHANGED, ["rest"]),  # it does not match
        ([_BOTH], _UNCHANGED, "no rule matches: nothing changed in api (rule api)"),
        (
            [_rule("w", changes=("api",)), _API],
            _UNCHANGED,
            f"api: {_SAID}; nothing changed in api (rule w)",
        ),
    ],
)
def test_what_a_marker_leaves_out(
    rules: list[Rule], unchanged: tuple[tuple[str, ...], ...], does: list[str] | str
) -> None:
    """All of its rule, and what comes after a final one."""
    targets = route(make_push(), rules, KnownChanges(unchanged, markers={_SKIP}))
    if isinstance(does, str):
        assert [(each.action, each.rule) for each in targets] == [(Action.IGNORE, does)]
    else:
        assert [each.rule for each in targets] == does
    # Without the text nothing is left out but what did not change.
    assert all(_SAID not in each.rule for each in route(make_push(), rules))


def test_a_skip_is_a_left_out_target() -> None:
    """A status that is required does not stay pending, and the record says why."""
    known = KnownChanges(markers={_SKIP})
    (skipped,) = skipped_targets(make_push(), [_OPEN, _REST], known)
    assert skipped == SkippedTarget("api", HasMarker(_SKIP), project="api")
    assert skipped.is_recorded
    assert skipped.text == f"api: {_SAID} (rule api)"


def test_only_rules_that_may_be_applied_ask_for_the_message() -> None:
    """Without such a rule nothing is read."""
    push, tag = make_push(), make_push(ref="refs/tags/v1")
    assert asked_markers(push, [_REST, _API]) == []
    assert asked_markers(push, [_OPEN, _rule("web", _CI, _SKIP), _rule("x", "x")]) == [_SKIP, _CI]
    assert asked_markers(push, [_BOTH, _rule("x", "x")]) == [_SKIP, "x"]
    assert asked_markers(tag, [replace(_API, ref=("refs/heads/*",)), _REST]) == []
    assert asked_changes(push, [_OPEN, _BOTH]) == [("api",)]


@pytest.mark.parametrize(
    ("terms", "markers"),
    [
        (RequestTerms("build", as_push=True), []),
        (RequestTerms("schedule"), []),
        (RequestTerms("reconcile", as_push=True), [_SKIP]),
        (RequestTerms("mine", as_push=True, since=make_push().time), [_SKIP]),
    ],
)
def test_a_request_is_built_whatever_the_message_says(
    terms: RequestTerms, markers: list[str]
) -> None:
    """Except of a push that was found: nobody asked for it."""
    assert asked_markers(replace(make_push(), terms=terms), [_API]) == markers
