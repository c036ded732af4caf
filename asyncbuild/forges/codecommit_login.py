"""User name and password for CodeCommit's git servers, made from AWS credentials. Pure.

A Signature Version 4 over a made-up request with the method `GIT`, as in aws/git-remote-codecommit
and aws-cli `customizations/codecommit.py`. The password contains its time and is valid for about 15
minutes, so each git call gets its own.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "codecommit"


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """AWS access key; `token` is set for temporary credentials. Secrets stay out of `repr`."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """User name and password for HTTP basic authentication."""

    user: str = field(repr=False)
    password: str = field(repr=False)

    def header(self) -> str:
        """Return the whole header line (RFC 7617)."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Authorization: Basic {base64.b64encode(pair).decode()}"


def codecommit_login(
    credentials: AwsCredentials, *, host: str, path: str, region: str, time: datetime
) -> Login:
    """Return the login for one git call.

    Args:
        credentials: The access key to sign with.
        host: Host name of the remote, without a port.
        path: Path of the remote's URL, `/v1/repos/NAME`, without a trailing slash.
        region: The repository's region.
        time: Now, aware of its zone.
    """
    stamp = time.astimezone(UTC).strftime("%Y%m%dT%H%M%S")
    scope = f"{stamp[:8]}/{region}/{_SERVICE}/aws4_request"
    canonical = f"GIT\n{path}\n\nhost:{host}\n\nhost\n"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = _signing_key(credentials.secret_key, stamp[:8], region)
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    user = credentials.access_key
    if credentials.token:
        user = f"{user}%{credentials.token}"
    return Login(user=user, password=f"{stamp}Z{signature}")


def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for step in (day, region, _SERVICE, "aws4_request"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return key
