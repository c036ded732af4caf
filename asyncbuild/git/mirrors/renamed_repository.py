"""Renamed repositories: followed within the server's own origin.

git itself follows no redirect here (`forges/remotes.py`), because it would carry the login
anywhere. So the server is asked where the repository is now, and git is sent there if that is the
same origin.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

from asyncbuild.forges.git_remote import Remote, places_of
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.lfs_answers import origin_of, usable_url

_T = TypeVar("_T")
_HOPS_MOST: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 307, 308})
_REFS: Final = "/info/refs"
_SERVICE: Final = "?service=git-upload-pack"  # gitprotocol-http(5)


async def follow(remote: Remote, run: Callable[[Remote], Awaitable[_T]]) -> _T:
    """Run with a remote; if its server has moved it, run again with the new URL.

    Raises:
        GitFailed: As `run`; also, with `GitFault.MOVED`, if it was moved to another origin.
    """
    try:
        return await run(remote)
    except GitFailed as error:
        if error.fault is not GitFault.MOVED:
            raise
        url = await _find_url(remote)
        if url == remote.url:
            raise
        return await run(replace(remote, url=url))


async def _find_url(remote: Remote) -> str:
    """Return the URL that a remote was moved to; its own if the new one has another origin.

    It also returns the remote's own URL if the new one is unknown.

    Raises:
        Outage: The server cannot be reached, or does not answer.
        Retry: It does not answer in HTTP, or there are no credentials.
    """
    # An HTTP client that few fetches need.
    from asyncbuild.git.content.lfs.http import open_web  # noqa: PLC0415

    reach = remote.reach.trusting(*places_of(remote.url))
    url = remote.url
    async with open_web(reach, silence_seconds=remote.patience_seconds) as web:
        for _ in range(_HOPS_MOST):
            headers = {}
            if remote.login is not None:
                name, _, value = (await remote.login()).partition(": ")
                headers[name] = value
            asked = f"{url.rstrip('/')}{_REFS}{_SERVICE}"
            doing = f"look where {remote.name} was moved to"
            async with web.request("GET", asked, headers, doing=doing) as answer:
                if answer.status not in _REDIRECTS:
                    return url
                following = _base(answer.headers.get("Location", ""), asked)
            if following is None:
                return remote.url
            url = following
    return remote.url


def _base(location: str, asked: str) -> str | None:
    """Return the repository that a redirect leads to; None for another origin or none."""
    try:
        url = usable_url(location, asked)
        here = origin_of(url) == origin_of(asked)
    except ValueError:
        return None
    path, _, query = url.partition("?")
    if not here or not path.endswith(_REFS) or f"?{query}" != _SERVICE:
        return None
    return path.removesuffix(_REFS)
