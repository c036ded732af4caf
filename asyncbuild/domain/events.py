"""Every event that the service logs: its level, its fields, and what it says.

A stage tells what happens by one log line (`runtime/log.py`); metrics, the page, CloudWatch and
traces listen to the same lines, so that no stage knows any of them. A test compares this list with
what the code says, and with `docs/observability.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# What every line about one push carries besides its own fields.
PUSH_FIELDS: Final = ("event_id", "account", "repository", "ref", "commit", "trace_id")

# The stages of a push. `prepare` holds `fetch` and `upload`; `start` is once for each target.
STAGES: Final[Mapping[str, str]] = {
    "push.prepare": "everything that may run beside other pushes: it ends with an archive in S3",
    "push.fetch": "making the commit present in the mirror; a fetch may serve several pushes",
    "push.upload": "tree to zip to S3, as one stream",
    "push.start": "one target in its turn: build or pipeline is started, the outcome recorded",
}
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "push.upload": ("key",),
    "push.start": ("rule", "project", "pipeline"),
}
_FINISHED: Final[Mapping[str, tuple[str, ...]]] = {
    "push.prepare": ("bytes",),
    "push.upload": (
        *("bytes", "sent_bytes", "copied_bytes", "entries"),
        *("archive_kind", "base", "files_read", "fallback"),
    ),
}
_OUTCOME: Final = (
    "reason",
    "rule",
    "project",
    "build_id",
    "build_arn",
    "pipeline",
    "pipeline_arn",
    "execution_id",
    "bucket",
    "key",
    "bytes",
    "archive_kind",
    "base",
    "sent_bytes",
    "copied_bytes",
    "files_read",
    "since_push_seconds",
    "fetch_seconds",
    "archive_seconds",
    "start_seconds",
)


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of line. `of_push`: it carries `PUSH_FIELDS`; `fields` are those besides.

    `level` is one of them, or several with "or" between.
    """

    level: str
    says: str
    fields: tuple[str, ...] = ()
    of_push: bool = False


def _of_stages() -> dict[str, Event]:
    events: dict[str, Event] = {}
    for name, says in STAGES.items():
        own = _OWN.get(name, ())
        ended = (*own, "duration_seconds")
        events[f"{name}.started"] = Event("debug", f"Began: {says}.", own, of_push=True)
        fields = (*ended, *_FINISHED.get(name, ()))
        events[f"{name}.finished"] = Event("info", "Ended well.", fields, of_push=True)
        fields = (*ended, "kind", "reason", "peer", "stage")
        events[f"{name}.failed"] = Event(
            "debug or info or warning",
            "Could not be done; the lane tries again or gives up. Debug inside another stage, "
            "which fails with it; info if nothing is wrong with the push: kinds busy, lease-lost, "
            "unreachable. `peer`: the other side; `stage`: the innermost that failed.",
            fields,
            of_push=True,
        )
        events[f"{name}.cancelled"] = Event(
            "debug", "Ended by a shutdown or a lost lease.", ended, of_push=True
        )
    return events


def _outcome(says: str) -> Event:
    return Event("info", says, _OUTCOME, of_push=True)


EVENTS: Final[Mapping[str, Event]] = {
    "config.doubt": Event(
        "warning",
        "A setting that is possible, and can hardly be meant; told at the start.",
        ("doubt", "reason", "remedy"),
    ),
    "service.started": Event(
        "info", "Everything is open.", ("queue", "bucket", "consumers", "drain")
    ),
    "service.stopping": Event("info", "A signal came; `second` cancels.", ("signal", "second")),
    "service.grace-ends": Event(
        "warning", "What is not on its last step is released now.", ("remaining_seconds",)
    ),
    "service.stopped": Event("info", "Everything in hand was settled or released."),
    "service.failed": Event(
        "error",
        "The last line of a service that an error ends; nothing is lost.",
        ("kind", "reason", "remedy", "exit_code"),
    ),
    "library.logged": Event(
        "warning or error", "A library warned, or nobody caught an error.", ("logger", "reason")
    ),
    "status.listening": Event("info", "The status page is served.", ("address",)),
    "status.unavailable": Event(
        "error", "The status page cannot be served; pushes are.", ("reason", "remedy")
    ),
    "status.bug": Event("error", "A part of the status no longer works; pushes do."),
    "protection.changed": Event(
        "debug", "ECS will not stop this task for so long; 0: it may at once.", ("minutes",)
    ),
    "protection.failed": Event(
        "warning",
        "ECS may stop this task while it has work in hand. Told once, until it works again.",
        ("reason", "remedy"),
    ),
    "protection.bug": Event("error", "The protection no longer works; pushes do."),
    "consumer.stopped-receiving": Event("info", "The last poll ended.", ("lanes",)),
    "queue.polled": Event("debug", "A receive was answered.", ("messages", "groups")),
    "queue.receive-failed": Event(
        "warning", "A receive failed and is tried again.", ("kind", "reason", "pause_seconds")
    ),
    "queue.one-message-per-receive": Event(
        "warning",
        "The queue's redrive policy allows too few receives to look ahead.",
        ("max_receive_count", "remedy"),
    ),
    "lease.renewed": Event("debug", "A lane's messages stay invisible.", ("messages",)),
    "lease.renewal-failed": Event(
        "warning", "It is tried again before the lease runs out.", ("messages", "reason")
    ),
    "queue.grouping": Event(
        "warning",
        "A message group is not one repository's: told once of each.",
        ("reason", "remedy"),
    ),
    "lease.lost": Event(
        "warning",
        "The messages are in other hands: nothing more is committed for them.",
        ("reason", "group", "message_id"),
    ),
    "lane.released": Event(
        "info",
        "Messages went back to the queue, hidden for a while if their repository waits for others.",
        ("messages", "hidden_seconds", "group", "reason"),
    ),
    "lane.release-failed": Event(
        "warning", "They come back when their visibility runs out.", ("messages", "reason")
    ),
    **_of_stages(),
    "push.built": _outcome("A build was started."),
    "push.handed-over": _outcome("An execution of a pipeline was started."),
    "push.uploaded": _outcome("The archive is in S3, and no more was asked for."),
    "push.ignored": _outcome("A rule says to do nothing."),
    "push.stale": _outcome("A newer push of its ref, which contains it, was built before."),
    "push.superseded": Event(
        "info", "A newer push of its ref stands for it.", ("by",), of_push=True
    ),
    "push.nothing-to-do": Event("info", "An event that asks for no build.", ("event_id", "reason")),
    "push.dead-lettered": Event(
        "error",
        "Given up: it is in the dead-letter queue.",
        ("message_id", "event_id", "repository", "ref", "commit", "kind", "reason", "attempts"),
    ),
    "webhook.unverified": Event(
        "debug or warning",
        "A request without a good signature. The first 20 of a host and hour are dead letters "
        "(`kept`), the others are deleted and counted here; warning at the first of those.",
        ("message_id", "host", "kept", "reason"),
    ),
    "push.dead-letter-shortened": Event(
        "warning",
        "Its body leaves little room in the dead-letter queue: these attributes are cut or left "
        "out.",
        ("message_id", "lacking"),
    ),
    "push.not-settled": Event(
        "warning",
        "It could not be deleted, or not be dead-lettered (`step`), and is tried again; no later "
        "push of its group is settled before it.",
        ("message_id", "step", "kind", "reason"),
    ),
    "push.bug": Event("error", "An error that no stage meant to raise.", ("message_id",)),
    "guard.none": Event(
        "warning", "No process ends the children of this one if it is killed.", ("reason",)
    ),
    "archive.full": Event(
        "info or warning",
        "No delta of an older archive, for this reason; level warning if the try failed.",
        ("reason", "detail"),
        of_push=True,
    ),
    "archive.large": Event(
        "info",
        "git needed more memory than its share: large files are measured first, now and later.",
        ("reason",),
        of_push=True,
    ),
    "service.memory": Event(
        "warning", "The settings allow more memory than there is.", ("reason",)
    ),
    "archive.not-remembered": Event(
        "warning", "The next archive of the ref will begin from another.", ("reason",), of_push=True
    ),
    "archive.placeholders": Event(
        "warning",
        "A file with `export-subst` asks for what a commit does not say: nothing stands there, or "
        "what is so now.",
        ("path", "placeholders"),
        of_push=True,
    ),
    "fetch.finished": Event(
        "info",
        "One git fetch, for so many pushes.",
        ("mirror", "pushes", "duration_seconds"),
    ),
    "secret.not-renewed": Event(
        "warning",
        "A secret of `[[hosts]]` could not be read again; it stays as it was.",
        ("kind", "reason"),
    ),
    "mirror.renewed": Event("warning", "A damaged mirror is fetched anew.", ("mirror", "damage")),
    "mirror.repack-failed": Event("warning", "It is tried after a later fetch.", ("reason",)),
    "mirrors.evicted": Event(
        "info", "Least recently used mirrors were deleted.", ("mirrors", "freed_bytes")
    ),
    "reader.mended": Event(
        "warning", "Damaged files of the service's own were written again.", ("files",)
    ),
    "scratch.left": Event("warning", "A temporary directory could not be removed.", ("directory",)),
}
