"""Judge of a bucket's settings. Pure. Source: S3 API reference, LifecycleRule."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.config.settings import Settings
from asyncbuild.git.seeds.plans.seed_due import RENEWAL_AGE

_LONGEST_BUILD_DAYS: Final = 3  # 44 hours, and S3 counts from the next midnight
_SEED_DAYS: Final = 30
_LONGEST_SEED_DAYS: Final = 90
# Storage classes from which objects must be restored before builds or archives can read them.
_FROZEN: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """Properties of a bucket, as S3 describes it.

    Attributes:
        name: Name of the bucket.
        region: Its region.
        rules: Its lifecycle rules, as the API returns them; None without the right to read them.
        versioning: `Enabled`, `Suspended`, empty; None without the right to read it.
    """

    name: str
    region: str
    rules: Sequence[Mapping[str, Any]] | None
    versioning: str | None


def archive_prefix(settings: Settings) -> str:
    """Return the beginning of all archives' keys: `archives/` of `archives/{repository}/…`."""
    return settings.storage.key.partition("{")[0]


def unfinished_prefix(settings: Settings) -> str:
    """Return the beginning of the keys that mark builds without an end."""
    return LedgerKeys(settings.storage.ledger_prefix).all_unfinished


def judge_bucket(
    facts: BucketFacts, settings: Settings, *, region: str | None, retention_days: int | None
) -> list[Finding]:
    """Return the findings about a bucket, compared with what the service needs.

    Args:
        facts: Properties of the bucket.
        settings: The whole configuration.
        region: Region of the projects.
        retention_days: Days that the queue keeps a message; None if that is not known.
    """
    findings = [_region(facts, region), *_versioning(facts)]
    if facts.rules is not None:
        rules = [rule for rule in facts.rules if rule.get("Status") == "Enabled"]
        findings.append(_uploads(facts.name, rules))
        findings += _archives(facts, rules, archive_prefix(settings))
        records, marks = settings.storage.ledger_prefix, unfinished_prefix(settings)
        of_marks = [rule for rule in rules if _prefix_of(rule).startswith(marks)]
        of_records = [rule for rule in rules if rule not in of_marks]
        findings += _ledger(facts.name, of_records, records, retention_days)
        findings += _marks(facts.name, rules, marks)
        if settings.git.seeds:
            findings += _seeds(facts.name, rules, settings.storage.seed_prefix)
    return findings


def _region(facts: BucketFacts, region: str | None) -> Finding:
    if region is None or facts.region == region:
        where = f"bucket {facts.name} can be reached, in {facts.region}"
        return Finding(Level.OK, "bucket.region", where)
    return Finding(
        Level.PROBLEM,
        "bucket.region",
        f"bucket {facts.name} is in {facts.region}, CodeBuild in {region}",
        "CodeBuild reads its source only from a bucket in its own region",
        f"use a bucket in {region}",
    )


def _versioning(facts: BucketFacts) -> Iterator[Finding]:
    if facts.versioning == "Enabled":
        yield Finding(Level.OK, "bucket.versioning", f"bucket {facts.name} keeps versions")
    elif facts.versioning is not None:
        state = facts.versioning or "off"
        yield Finding(
            Level.NOTE,
            "bucket.versioning",
            f"versioning of bucket {facts.name} is {state}",
            "a build that waits in CodeBuild's queue reads whatever its key holds when it begins; "
            "with versions it reads the archive that it was started for",
            "enable versioning, and expire noncurrent versions after a day",
        )


def _uploads(bucket: str, rules: Iterable[Mapping[str, Any]]) -> Finding:
    name = "bucket.lifecycle.uploads"
    for rule in rules:
        if "AbortIncompleteMultipartUpload" in rule and _covers(rule, ""):
            what = f"bucket {bucket} aborts incomplete multipart uploads"
            return Finding(Level.OK, name, what)
    return Finding(
        Level.WARNING,
        name,
        f"bucket {bucket} has no AbortIncompleteMultipartUpload rule",
        "the parts of an upload whose process was killed stay, and are paid for",
        "add a lifecycle rule for the whole bucket that aborts incomplete uploads after one day",
    )


def _archives(
    facts: BucketFacts, rules: Sequence[Mapping[str, Any]], prefix: str
) -> Iterator[Finding]:
    shown = prefix or "(the whole bucket)"
    days = _expires(rules, prefix)
    name = "bucket.lifecycle.archives"
    if days is None:
        yield Finding(
            Level.NOTE,
            name,
            f"no lifecycle rule of bucket {facts.name} expires archives under {shown}",
            "every push leaves an archive, and all are paid for until they are deleted",
            "add a rule that expires them, such as after 30 days; they can be made again",
        )
    else:
        yield Finding(Level.OK, name, f"archives under {shown} expire after {days} days")
    if facts.versioning == "Enabled" and not any(
        "NoncurrentVersionExpiration" in rule and _covers(rule, prefix) for rule in rules
    ):
        yield Finding(
            Level.NOTE,
            "bucket.lifecycle.versions",
            f"bucket {facts.name} keeps replaced versions under {shown} without limit",
            "an expired object of a bucket with versions is only hidden, and still paid for",
            "add NoncurrentVersionExpiration to the rule that expires archives",
        )
    for rule in rules:
        frozen = {str(each.get("StorageClass")) for each in rule.get("Transitions", ())} & _FROZEN
        if frozen and _touches(rule, prefix):
            yield Finding(
                Level.WARNING,
                "bucket.lifecycle.storage-class",
                f"lifecycle rule {rule.get('ID', '(no ID)')} of bucket {facts.name} moves "
                f"archives to {', '.join(sorted(frozen))}",
                "CodeBuild cannot read an object there, nor can a new archive be made of it",
                "expire archives instead, or choose STANDARD_IA or GLACIER_IR",
            )


def _ledger(
    bucket: str, rules: Sequence[Mapping[str, Any]], prefix: str, retention_days: int | None
) -> Iterator[Finding]:
    soonest = min(
        (days for rule in rules if _touches(rule, prefix) and (days := _days(rule)) is not None),
        default=None,
    )
    name = "bucket.lifecycle.ledger"
    if soonest is None:
        yield Finding(Level.OK, name, f"records under {prefix} of bucket {bucket} are kept")
    elif retention_days is not None and soonest < retention_days:
        yield Finding(
            Level.WARNING,
            name,
            f"records under {prefix} of bucket {bucket} expire after {soonest} days, the queue "
            f"keeps a message for {retention_days}",
            "the record is what keeps a push that is delivered again from being built again",
            f"keep what is under {prefix} for {retention_days} days or longer; a rule without a "
            "prefix is for it, too",
        )
    else:
        yield Finding(Level.OK, name, f"records under {prefix} expire after {soonest} days")


def _marks(bucket: str, rules: Sequence[Mapping[str, Any]], prefix: str) -> Iterator[Finding]:
    days = _expires(rules, prefix)
    if days is not None and days < _LONGEST_BUILD_DAYS:
        yield Finding(
            Level.WARNING,
            "bucket.lifecycle.unfinished",
            f"marks under {prefix} of bucket {bucket} expire after {days} days",
            "a build may last for 44 hours, and without its mark no round asks for it",
            f"keep what is under {prefix} for {_LONGEST_BUILD_DAYS} days or longer, such as 30",
        )


def _seeds(bucket: str, rules: Sequence[Mapping[str, Any]], prefix: str) -> Iterator[Finding]:
    days, name = _expires(rules, prefix), "bucket.lifecycle.seeds"
    if days is not None and days <= RENEWAL_AGE.days:
        yield Finding(
            Level.WARNING,
            name,
            f"copies of mirrors under {prefix} of bucket {bucket} expire after {days} days",
            f"one in use is written again after {RENEWAL_AGE.days} days, and is gone before",
            f"keep what is under {prefix} for {_SEED_DAYS} days",
        )
    elif days is None or days > _LONGEST_SEED_DAYS:
        kept = "for good" if days is None else f"for {days} days"
        yield Finding(
            Level.NOTE,
            name,
            f"copies of mirrors under {prefix} of bucket {bucket} are kept {kept}",
            "those of repositories that no one pushes to any more are paid for meanwhile",
            f"add a lifecycle rule for {prefix} that expires objects after {_SEED_DAYS} days, as "
            "the stack of this version does",
        )


def _expires(rules: Iterable[Mapping[str, Any]], prefix: str) -> int | None:
    found = [days for rule in rules if _covers(rule, prefix) and (days := _days(rule)) is not None]
    return min(found, default=None)


def _days(rule: Mapping[str, Any]) -> int | None:
    days = rule.get("Expiration", {}).get("Days")
    return int(days) if days is not None else None


def _covers(rule: Mapping[str, Any], prefix: str) -> bool:
    """Return whether the rule applies to every object whose key begins with `prefix`."""
    filter_ = rule.get("Filter") or {}
    every = {**filter_, **filter_.get("And", {})}
    narrowed = any(name in every for name in ("Tag", "Tags", "ObjectSizeGreaterThan"))
    return not narrowed and prefix.startswith(_prefix_of(rule))


def _touches(rule: Mapping[str, Any], prefix: str) -> bool:
    """Return whether the rule may apply to some object whose key begins with `prefix`."""
    theirs = _prefix_of(rule)
    return prefix.startswith(theirs) or theirs.startswith(prefix)


def _prefix_of(rule: Mapping[str, Any]) -> str:
    filter_ = rule.get("Filter") or {}
    found = rule.get("Prefix") or filter_.get("Prefix") or filter_.get("And", {}).get("Prefix")
    return str(found or "")
