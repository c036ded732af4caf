"""Remotes of submodules, for a repository that no setting names."""

import hashlib
import re
from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from asyncbuild.domain.repository import Repository
from asyncbuild.forges.addresses import Address, parse_address, split_scp
from asyncbuild.forges.git_remote import Remote, places_of
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.formats.lfs_answers import origin_of
from asyncbuild.git.mirrors.pinned_address import pin

ROOT: Final = Repository.of_host("submodules", "of", "root")
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")
_NAME_MOST: Final = 100


class SubmoduleRemotes:
    """Remotes of one root repository and of the submodules below it (`Places`).

    Submodules may be anywhere, as for `git clone --recurse-submodules`, since the caller asked for
    them. But a login goes only to its own server, and nothing of this machine is read for a
    repository that came from another one.

    Args:
        remotes: Credentials, and the servers of the configuration.
        root: Remote of the root repository, `ROOT`.
    """

    def __init__(self, remotes: Remotes, root: Remote) -> None:
        self._remotes = remotes
        self._known = {ROOT: root}

    def remote(self, repository: Repository) -> Remote:
        """Return the remote of a repository, as `Remotes.remote`."""
        return self._known.get(repository) or self._remotes.remote(repository)

    def find(self, url: str, beside: Repository) -> Repository:
        """Return the repository of a submodule's URL, as `Remotes.find`."""
        parent = self.remote(beside)
        address = parse_address(url)
        if address is None or (address.scheme == "file" and not _is_local(parent.url)):
            return self._remotes.find(url, beside)  # of CodeCommit, or unknown
        remote = self._guarded(self._remotes.remote_at(url), address)
        if remote.login is None and _same_server(url, parent.url):
            remote = replace(remote, login=parent.login)
        name = _ODD.sub("-", address.path.rpartition("/")[2])[:_NAME_MOST]
        found = Repository.of_host(
            "submodules", hashlib.sha256(url.encode()).hexdigest()[:12], name
        )
        self._known[found] = remote
        return found

    def _guarded(self, remote: Remote, address: Address) -> Remote:
        """Return the remote, kept from private addresses that the configuration does not name."""
        if address.scheme == "file" or self._remotes.knows(address):
            return remote
        reach = self._known[ROOT].reach
        if reach.trusts(address.host, places_of(remote.url)[0][1] if "://" in remote.url else 443):
            return replace(remote, reach=reach)
        return replace(remote, reach=reach, pin=partial(pin, remote.url, reach))


def _is_local(url: str) -> bool:
    return split_scp(url) is None and urlsplit(url).scheme in {"", "file"}


def _same_server(url: str, other: str) -> bool:
    try:
        return origin_of(url) == origin_of(other)
    except ValueError:  # one is a URL of SSH, or a path
        return False
