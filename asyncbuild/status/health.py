"""Command `asyncbuild health`: is the service of this machine alive? For the probes of containers.

One request, by the standard library alone: a probe runs every few seconds, beside the service.
"""

from http.client import HTTPConnection, HTTPException
from typing import Final

from asyncbuild.config.sections import StatusSettings
from asyncbuild.domain.errors import Busy, Outage

_TIMEOUT_SECONDS: Final = 4.0


def ask(settings: StatusSettings, *, ready: bool) -> str:
    """Return the service's answer to `/healthz`, or with `ready` to `/readyz`.

    Raises:
        Outage: Nothing answers at `status.listen`.
        Busy: The service is alive, but not ready.
    """
    if settings.listen == "off":
        return "status.listen is off: no service can be asked\n"
    host, port = settings.local_address
    path = "/readyz" if ready else "/healthz"
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        says = answer.read().decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise Outage(
            f"no service answers at status.listen = {settings.listen!r}: {error}",
            remedy="give this command the service's own configuration, by --config or "
            "ASYNCBUILD_CONFIG, and look whether the service logged status.listening",
        ) from error
    finally:
        connection.close()
    if answer.status != 200:  # noqa: PLR2004 - OK, RFC 9110
        raise Busy(f"{path} at {settings.listen} answers {answer.status}: {says.strip()}")
    return says
