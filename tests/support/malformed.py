"""Messages that are not pushes, of every kind."""

import orjson
from support.events import body, envelope


def malformed(count: int) -> list[str]:
    """Return bodies of every kind that is not a push, each different from all others."""
    made: list[str] = []
    number = 0
    while len(made) < count:
        number += 1
        unique = f"{number:04d}"
        event = envelope()
        made += [
            f"no JSON at all {unique}",
            f'{{"cut": "{unique}',
            f'["{unique}"]',
            f'{{"detail-type": "EC2 Instance {unique}"}}',
            orjson.dumps({**event, "detail": unique}).decode(),
            body(commitId=f"--output={unique}"),
            body(repositoryName=f"../{unique}"),
            body(referenceFullName=f"refs/heads/a..{unique}"),
            body(event=f"pushed{unique}"),
            body(commitId=None),
            orjson.dumps({**event, "account": unique}).decode(),
            orjson.dumps({"Type": "Notification", "Message": unique}).decode(),
        ]
    return made[:count]
