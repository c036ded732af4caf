"""Addresses that a URL from outside the configuration may lead to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.config import GitSettings, HostSettings
from asyncbuild.domain.reachable import Reach, check_entry
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.keyring import Keyring
from asyncbuild.forges.origins import origin_of
from asyncbuild.forges.remotes import Remotes


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.170.2"),
        *("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1"),  # noqa: S104 - no server
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1"),
        *("", "name", "127.1", "1.2.3.4.5"),
    ],
)
def test_private_addresses_are_refused(address: str) -> None:
    """Every spelling is recognised; text that is not an address is refused, too."""
    assert not Reach().permits("h.example", 443, address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "52.216.0.1"])
def test_public_addresses_are_permitted(address: str) -> None:
    """Contents are mostly stored there."""
    assert Reach().permits("h.example", 443, address)


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "expected"),
    [
        ("10.0.0.0/8", "h", 443, "10.1.2.3", True),
        ("10.0.0.0/8", "h", 443, "11.1.2.3", True),
        ("10.0.0.0/8", "h", 443, "192.168.0.1", False),
        ("10.0.0.0/8", "h", 443, "::ffff:10.0.0.1", True),
        ("10.1.2.3", "h", 443, "10.1.2.3", True),
        ("fd00::/8", "h", 443, "fd00::1", True),
        ("fd00::/8", "h", 443, "10.0.0.1", False),
        ("lfs.example", "LFS.example.", 8443, "10.0.0.1", True),
        ("lfs.example", "x.lfs.example", 443, "10.0.0.1", False),
        ("lfs.example:8443", "lfs.example", 8443, "10.0.0.1", True),
        ("lfs.example:8443", "lfs.example", 443, "10.0.0.1", False),
        ("*.corp.example", "a.b.corp.example", 443, "10.0.0.1", True),
        ("*.corp.example", "corp.example", 443, "10.0.0.1", False),
        ("*.corp.example", "evilcorp.example", 443, "10.0.0.1", False),
        ("127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1", True),
        ("127.0.0.1:9000", "127.0.0.1", 9001, "127.0.0.1", False),
    ],
)
def test_configured_addresses_are_permitted(
    entry: str,
    host: str,
    port: int,
    address: str,
    expected: bool,  # noqa: FBT001 - the same
) -> None:
    """A host, all hosts below one, one port of it, a network."""
    assert Reach([check_entry(entry)]).permits(host, port, address) is expected


def test_a_trusted_server_is_one_port_of_one_host() -> None:
    """Configured servers may have any address; their neighbours may not."""
    reach = Reach(trusted=[("Git.internal", 443)]).trusting(("127.0.0.1", 8080))
    assert reach.permits("git.internal", 443, "10.0.0.1")
    assert not reach.permits("git.internal", 9000, "10.0.0.1")
    assert reach.permits("127.0.0.1", 8080, "127.0.0.1")
    assert not reach.permits("127.0.0.1", 8081, "127.0.0.1")


@pytest.mark.parametrize("entry", ["", "*", "*.", "a b", "http://h", "h:0", "h/x", "10.0.0.0/33"])
def test_an_entry_that_is_neither_host_nor_network_is_refused(entry: str) -> None:
    """The error comes before anything is fetched."""
    with pytest.raises(ValueError, match="neither a host nor a network"):
        check_entry(entry)


@given(address=st.ip_addresses() | st.ip_addresses(network="::ffff:0:0/96"), host=st.text())
def test_permitted_addresses_are_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, host: str
) -> None:
    """Any host name is given."""
    if Reach().permits(host, 443, str(address)):
        odd = ("private", "loopback", "link_local", "multicast", "unspecified")
        assert not [each for each in odd if getattr(address, f"is_{each}")]


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ({"remote": "ssh://git@git.internal:7999/{owner}/{repository}"}, ("git.internal", 443)),
        ({"remote": "ssh://git@git.internal:7999/{owner}/{repository}"}, ("forge.internal", 443)),
        ({"host": "forge.internal:8443"}, ("forge.internal", 8443)),
        ({"remote": "https://git.internal:8443/{owner}/{repository}"}, ("git.internal", 8443)),
    ],
)
def test_a_self_hosted_forge_is_trusted(host: dict[str, str], trusted: tuple[str, int]) -> None:
    """The host of its pages and that of its `remote` are both trusted, at any address."""
    values = {"host": "forge.internal", "kind": "gitlab", "signature": "off", **host}
    settings = HostSettings.model_validate(values)
    keyring = Keyring.__new__(Keyring)  # without secrets
    remotes = Remotes(GitSettings(), origins=lambda each: origin_of(settings, each, keyring))
    reach = remotes.remote(Repository.of_host("forge.internal", "o", "r")).reach
    assert reach.permits(*trusted, "10.0.0.1")
    assert not reach.permits(trusted[0], 9_000, "10.0.0.1")
    assert not reach.permits("other.internal", trusted[1], "10.0.0.1")


def test_an_endpoint_of_a_vpc_is_trusted() -> None:
    """Its name is in `git.remote`."""
    endpoint = "vpce-0a1b-c2.git-codecommit.eu-west-1.vpce.amazonaws.com"
    settings = GitSettings(remote=f"https://{endpoint}/v1/repos/{{repository}}")
    reach = (
        Remotes(settings).remote(Repository.of_codecommit("123456789012", "eu-west-1", "web")).reach
    )
    assert reach.permits(endpoint, 443, "10.0.0.1")
    assert not reach.permits("169.254.169.254", 80, "169.254.169.254")
