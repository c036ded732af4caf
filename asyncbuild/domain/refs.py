"""Names of refs: the only module that decides which are legal. Pure.

They come from events, payloads and servers, and become refspecs and parts of keys (I11).
"""

import re
from typing import Final

from asyncbuild.domain.errors import Reject, show

PUSHED: Final = ("refs/heads/", "refs/tags/")  # prefixes of refs that are built
REF_BYTES_MOST: Final = 1_024  # CodeCommit allows branch names of 256
_PARTS_LEAST: Final = 3  # refs/heads/main
# git-check-ref-format(1), rules 1 and 3 to 10. The rule about a dot at the end applies to the whole
# name only: `v1./x` is legal, `x/v1.` is not.
_ILLEGAL: Final = re.compile(
    r"""
      [\x00-\x20\x7f~^:?*\[\\]   # control characters, blanks, and what revisions and globs use
    | \.\.                       # ranges
    | ^/ | // | /\Z              # empty components
    | (?:^|/)\.                  # a component that begins with a dot
    | \.lock(?:/|\Z)
    | \.\Z
    | @\{
    | ^@\Z
    """,
    re.VERBOSE,
)


def is_ref_name(name: str) -> bool:
    """Return whether `git check-ref-format <name>` succeeds.

    Args:
        name: Name of a ref, with bytes that are not UTF-8 as `surrogateescape` decodes them.
    """
    return "/" in name and not _ILLEGAL.search(name)


def check_ref(ref: object, *, below: tuple[str, ...] = ("refs/",)) -> str:
    """Return `ref` if it is a full ref name, in Unicode, that git could hold.

    Args:
        ref: Any value of an event.
        below: Prefixes, one of which it must have.

    Raises:
        Reject: It is not one; the reason contains the value. Nothing is repaired.
    """
    if not isinstance(ref, str) or not ref.startswith(below):
        raise Reject(f"ref {show(ref)} is not below {' or '.join(below)}")
    if ref.count("/") < _PARTS_LEAST - 1:
        raise Reject(f"ref {show(ref)} is not a full ref name such as refs/heads/main")
    if not is_ref_name(ref):
        raise Reject(f"ref {show(ref)} is not a name that git allows (git-check-ref-format)")
    try:
        size = len(ref.encode())
    except UnicodeEncodeError as error:  # a lone surrogate: JSON can express it, UTF-8 cannot
        raise Reject(f"ref {show(ref)} is not Unicode text") from error
    if size > REF_BYTES_MOST:
        raise Reject(f"ref {show(ref)} is longer than {REF_BYTES_MOST} bytes")
    return ref


def check_pushed_ref(ref: object) -> str:
    """Return `ref` if it is a full branch or tag name that git could hold.

    Raises:
        Reject: It is not one; the reason contains the value, see `check_ref`.
    """
    return check_ref(ref, below=PUSHED)
