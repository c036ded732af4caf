"""CodeCommit's git password against botocore's own signer, as aws-cli's helper uses it."""

import base64
from datetime import UTC, datetime, timedelta, timezone

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.forges.codecommit_login import AwsCredentials, Login, codecommit_login

HOST = "git-codecommit.eu-west-1.amazonaws.com"
PATH = "/v1/repos/web"
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


def by_botocore(
    credentials: AwsCredentials, *, host: str, path: str, region: str, stamp: str
) -> str:
    """aws-cli, customizations/codecommit.py: `sign_request`."""
    request = AWSRequest(method="GIT", url=f"https://{host}{path}")
    request.context["timestamp"] = stamp
    keys = Credentials(credentials.access_key, credentials.secret_key)
    signer = SigV4Auth(keys, "codecommit", region)
    to_sign = signer.string_to_sign(request, f"GIT\n{path}\n\nhost:{host}\n\nhost\n")
    return f"{stamp}Z{signer.signature(to_sign, request)}"


@given(
    text,
    text,
    st.sampled_from([HOST, "git-codecommit-fips.us-gov-west-1.amazonaws.com", "127.0.0.1"]),
    st.from_regex(r"/v1/repos/[\w.-]{1,100}", fullmatch=True),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants naive bounds
)
def test_the_password_is_the_one_that_botocore_computes(
    access_key: str, secret: str, host: str, path: str, time: datetime
) -> None:
    """Keys, hosts, paths and times are drawn."""
    credentials = AwsCredentials(access_key, secret)
    login = codecommit_login(credentials, host=host, path=path, region="eu-west-1", time=time)
    stamp = time.strftime("%Y%m%dT%H%M%S")
    expected = by_botocore(credentials, host=host, path=path, region="eu-west-1", stamp=stamp)
    assert login.password == expected


def test_a_known_password() -> None:
    """One value is written down, so that both computations cannot change together."""
    credentials = AwsCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    login = codecommit_login(credentials, host=HOST, path=PATH, region="eu-west-1", time=NOON)
    assert login == Login(
        "AKIDEXAMPLE",
        "20261122T120000Z7240287154c166e71ec7710990aad40e0d6753b74c8a7dc6f226100fba1f8841",
    )


def test_a_session_token_joins_the_user_name() -> None:
    """Temporary credentials: `ACCESS_KEY%TOKEN`; the password does not depend on the token."""
    plain = AwsCredentials("AKID", "secret")
    temporary = AwsCredentials("AKID", "secret", "tok%en==")
    where = {"host": HOST, "path": PATH, "region": "eu-west-1"}
    with_token = codecommit_login(temporary, **where, time=NOON)
    assert with_token.user == "AKID%tok%en=="
    assert with_token.password == codecommit_login(plain, **where, time=NOON).password


def test_the_time_is_written_in_utc() -> None:
    """Clocks of any zone make the same password."""
    credentials = AwsCredentials("AKID", "secret")
    where = {"host": HOST, "path": PATH, "region": "eu-west-1"}
    elsewhere = NOON.astimezone(timezone(timedelta(hours=9)))
    logins = {
        codecommit_login(credentials, **where, time=time).password for time in (NOON, elsewhere)
    }
    assert len(logins) == 1


def test_the_header_is_basic_authentication() -> None:
    """RFC 7617: base64 of user, colon, password."""
    header = Login("us%er", "pass").header()
    kind, _, encoded = header.rpartition(" ")
    assert kind == "Authorization: Basic"
    assert base64.b64decode(encoded) == b"us%er:pass"


def test_secrets_are_not_printed() -> None:
    """Neither credentials nor a login can be printed by accident (I10)."""
    credentials = AwsCredentials("AKID", "secret", "token")
    login = Login("user", "password")
    shown = f"{credentials!r} {login!r} {credentials} {login}"
    for secret in ("AKID", "secret", "token=", "'token'", "user'", "password'"):
        assert secret not in shown
