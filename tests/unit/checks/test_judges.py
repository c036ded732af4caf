"""Judgements of `asyncbuild check` on given facts: name, level and exit code."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pytest

from asyncbuild.checks.judges.bucket import BucketFacts, archive_prefix, judge_bucket
from asyncbuild.checks.judges.finding import Finding, FindingKind, Level, exit_code_of
from asyncbuild.checks.judges.projects import judge_projects
from asyncbuild.checks.judges.queues.queue import judge_dead_letters, judge_queue, judge_room
from asyncbuild.checks.judges.queues.reports_queue import (
    judge_no_reports,
    judge_no_statuses,
    judge_reports_dead_letters,
    judge_reports_queue,
)
from asyncbuild.checks.judges.queues.results_queue import (
    judge_results_dead_letters,
    judge_results_queue,
)
from asyncbuild.checks.judges.rights import NOT_TRIED, Trial, judge_trials
from asyncbuild.config import Settings

URL: Final = "https://sqs.eu-west-1.amazonaws.com/123456789012/pushes.fifo"
QUEUE: Final = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "true",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
    "MessageRetentionPeriod": "1209600",
    "RedrivePolicy": '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead.fifo",'
    ' "maxReceiveCount": "50"}',
}
ABORT: Final = {
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
}
STORED: Final = Settings(
    storage={"key": "archives/{repository}/{commit}.zip"}, git={"seeds": False}
)


def said(findings: Iterable[Finding]) -> dict[str, Level]:
    """Return levels of all findings that are not OK, by name."""
    return {each.name: each.level for each in findings if each.level is not Level.OK}


def test_a_queue_as_the_stack_makes_it_has_no_fault() -> None:
    """All attributes of deploy/cloudformation.yaml pass."""
    assert said(judge_queue(URL, QUEUE, Settings())) == {}


@pytest.mark.parametrize(
    ("attribute", "value", "name", "level"),
    [
        ("FifoQueue", "false", "queue.fifo", Level.PROBLEM),
        ("ContentBasedDeduplication", "false", "queue.content-based-deduplication", Level.WARNING),
        ("DeduplicationScope", "queue", "queue.high-throughput", Level.NOTE),
        ("FifoThroughputLimit", "perQueue", "queue.high-throughput", Level.NOTE),
        ("MessageRetentionPeriod", "3600", "queue.retention", Level.WARNING),
        ("RedrivePolicy", "", "queue.redrive-policy", Level.PROBLEM),
        (
            "RedrivePolicy",
            '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead.fifo", "maxReceiveCount": 3}',
            "queue.max-receive-count",
            Level.WARNING,
        ),
        ("KmsMasterKeyId", "alias/aws/sqs", "queue.encryption", Level.PROBLEM),
    ],
)
def test_each_queue_attribute_is_judged(
    attribute: str, value: str, name: str, level: Level
) -> None:
    """One wrong attribute is one finding with a reason and a remedy."""
    findings = judge_queue(URL, {**QUEUE, attribute: value}, Settings())
    assert said(findings) == {name: level}
    (bad,) = (each for each in findings if each.level is not Level.OK)
    assert bad.why
    assert bad.remedy


@pytest.mark.parametrize(
    ("settings", "name", "level"),
    [
        ({"visibility_timeout_seconds": 300}, "queue.visibility-timeout", Level.WARNING),
        ({"dead_letter_url": URL}, "queue.max-receive-count", Level.NOTE),
    ],
)
def test_settings_are_compared_with_the_queue(
    settings: Mapping[str, Any], name: str, level: Level
) -> None:
    """A lease beyond CodeBuild's memory is a warning, no redrive policy a note."""
    attributes = dict(QUEUE)
    if "dead_letter_url" in settings:
        del attributes["RedrivePolicy"]
    found = judge_queue(URL, attributes, Settings(queue=settings))
    assert said(found) == {name: level}


def test_a_long_poll_needs_a_patient_client() -> None:
    """A client that gives up before the poll's answer is a problem."""
    found = judge_queue(URL, QUEUE, Settings(aws={"read_timeout_seconds": 20}))
    assert said(found) == {"queue.long-poll": Level.PROBLEM}


def test_dead_letters_need_a_fifo_queue() -> None:
    """A standard queue is a problem; the default retention is not."""
    assert said(judge_dead_letters(URL, {"FifoQueue": "true"})) == {}
    assert said(judge_dead_letters(URL, {})) == {"dead-letters.fifo": Level.PROBLEM}


RESULTS: Final = {
    "MessageRetentionPeriod": "345600",
    "RedrivePolicy": '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead",'
    ' "maxReceiveCount": 100}',
}


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("MessageRetentionPeriod", "345600", {}),
        ("FifoQueue", "true", {"results.queue": Level.PROBLEM}),
        ("MessageRetentionPeriod", "3600", {"results.retention": Level.WARNING}),
        ("RedrivePolicy", "", {"results.redrive-policy": Level.PROBLEM}),
        (
            "RedrivePolicy",
            '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": 5}',
            {"results.max-receive-count": Level.WARNING},
        ),
        ("KmsMasterKeyId", "alias/aws/sqs", {"results.encryption": Level.PROBLEM}),
    ],
)
def test_each_attribute_of_the_queue_of_results_is_judged(
    attribute: str, value: str, expected: Mapping[str, Level]
) -> None:
    """A queue as the stack makes it has no fault, and one wrong attribute is one finding."""
    findings = judge_results_queue("results", {**RESULTS, attribute: value}, Settings())
    assert said(findings) == expected
    assert all(each.why and each.remedy for each in findings if each.level is not Level.OK)


def test_dead_letters_of_results_need_a_standard_queue() -> None:
    """A FIFO queue as dead-letter queue of a standard one is refused by SQS."""
    assert judge_results_dead_letters("dead", {}).level is Level.OK
    assert judge_results_dead_letters("dead", {"FifoQueue": "true"}).level is Level.PROBLEM
    own = Settings(results={"dead_letter_url": URL.replace(".fifo", "")})
    assert said(judge_results_queue("results", {}, own)) == {}


@pytest.mark.parametrize(
    ("queue", "dead", "level"),
    [
        ({}, {}, Level.OK),
        ({"MaximumMessageSize": "262144"}, {"MaximumMessageSize": "262144"}, Level.OK),
        ({"MaximumMessageSize": "262144"}, {}, Level.OK),
        ({"MaximumMessageSize": "1048576"}, {"MaximumMessageSize": "262144"}, Level.WARNING),
        ({}, {"MaximumMessageSize": "1048575"}, Level.WARNING),
    ],
)
def test_a_smaller_dead_letter_queue_is_a_finding(
    queue: dict[str, str], dead: dict[str, str], level: Level
) -> None:
    """Queues made before August 2025 accept a quarter of the bytes that newer ones do."""
    found = judge_room(URL, queue, f"{URL}-dead", dead)
    assert (found.name, found.level) == ("dead-letters.message-size", level)
    assert level is Level.OK or "MaximumMessageSize" in found.remedy


REPORTS: Final = {
    **QUEUE,
    "RedrivePolicy": '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:d.fifo",'
    ' "maxReceiveCount": "1000"}',
}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (REPORTS, {}),
        (
            {"RedrivePolicy": REPORTS["RedrivePolicy"], "MessageRetentionPeriod": "345600"},
            {"reports.queue": Level.PROBLEM},
        ),
        (QUEUE, {"reports.max-receive-count": Level.WARNING}),
        (
            {"FifoQueue": "true", "MessageRetentionPeriod": "172800"},
            {"reports.redrive-policy": Level.PROBLEM, "reports.retention": Level.WARNING},
        ),
    ],
)
def test_the_queue_of_reports_is_judged(
    attributes: Mapping[str, str], expected: Mapping[str, Level]
) -> None:
    """FIFO, with room for two days of tries, and dead letters."""
    assert said(judge_reports_queue(URL, attributes, Settings())) == expected


def test_reports_without_a_half_of_their_settings_are_told() -> None:
    """A queue without a host, a host without a queue, dead letters in no order."""
    assert judge_no_reports(["github.com"]).level is Level.WARNING
    assert "github.com" in judge_no_reports(["github.com"]).what
    assert judge_no_statuses().level is Level.NOTE
    assert judge_reports_dead_letters(URL, {}).level is Level.PROBLEM
    assert judge_reports_dead_letters(URL, QUEUE).level is Level.OK


def _bucket(*rules: Mapping[str, Any], versioning: str | None = "Enabled") -> dict[str, Level]:
    facts = BucketFacts("archives", "eu-west-1", rules, versioning)
    return said(judge_bucket(facts, STORED, region="eu-west-1", retention_days=14))


def _rule(prefix: str, days: int, **more: object) -> dict[str, Any]:
    return {
        "Status": "Enabled",
        "Prefix": prefix,
        "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        **more,
    }


def test_a_bucket_as_the_stack_makes_it_has_no_fault() -> None:
    """Archives expire, the ledger outlives the queue, unfinished uploads are aborted."""
    assert archive_prefix(STORED) == "archives/"
    rules = [ABORT, _rule("archives/", 30), _rule(".asyncbuild/", 400)]
    assert _bucket(*rules) == {}
    facts = BucketFacts(
        "archives", "eu-west-1", [*rules, _rule(".asyncbuild/seeds/", 30)], "Enabled"
    )
    with_seeds = Settings(storage=STORED.storage)
    assert said(judge_bucket(facts, with_seeds, region="eu-west-1", retention_days=14)) == {}


@pytest.mark.parametrize(
    ("days", "level"), [(14, Level.WARNING), (30, None), (400, Level.NOTE), (None, Level.NOTE)]
)
def test_copies_of_mirrors_are_kept_for_as_long_as_they_are_used(
    days: int | None, level: Level | None
) -> None:
    """Longer than until they are renewed; an older stack has no rule for them but the ledger's."""
    rules = [ABORT, _rule("archives/", 30)]
    if days is not None:
        rules.append(_rule(".asyncbuild/seeds/", days))
    facts = BucketFacts("archives", "eu-west-1", rules, "Enabled")
    with_seeds = Settings(storage=STORED.storage)
    found = said(judge_bucket(facts, with_seeds, region="eu-west-1", retention_days=14))
    assert found == ({} if level is None else {"bucket.lifecycle.seeds": level})


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            [_rule("archives/", 30)],
            {"bucket.lifecycle.uploads": Level.WARNING},
        ),
        (
            [{**ABORT, "Filter": {"Prefix": "archives/"}}, _rule("archives/", 30)],
            {"bucket.lifecycle.uploads": Level.WARNING},
        ),
        (
            [{**ABORT, "Status": "Disabled"}, _rule("archives/", 30)],
            {"bucket.lifecycle.uploads": Level.WARNING},
        ),
        (
            [ABORT],
            {
                "bucket.lifecycle.archives": Level.NOTE,
                "bucket.lifecycle.versions": Level.NOTE,
            },
        ),
        ([ABORT, _rule("", 3)], {"bucket.lifecycle.ledger": Level.WARNING}),
        (
            [ABORT, _rule("archives/", 30), _rule(".asyncbuild/ledger/unfinished/", 3)],
            {},
        ),
        (
            [ABORT, _rule("archives/", 30), _rule(".asyncbuild/ledger/unfinished/", 2)],
            {"bucket.lifecycle.unfinished": Level.WARNING},
        ),
        (
            [ABORT, _rule("archives/", 30), _rule(".asyncbuild/ledger/try/", 1)],
            {"bucket.lifecycle.ledger": Level.WARNING},
        ),
        (
            [ABORT, _rule("archives/", 30, Transitions=[{"StorageClass": "GLACIER"}])],
            {"bucket.lifecycle.storage-class": Level.WARNING},
        ),
    ],
)
def test_lifecycle_rules_are_judged_by_what_they_cover(
    rules: list[Mapping[str, Any]], expected: Mapping[str, Level]
) -> None:
    """Prefix, status and days decide; a rule for everything is for the ledger, too."""
    assert _bucket(*rules) == expected


def test_a_rule_for_some_archives_does_not_cover_all() -> None:
    """A tag or a size narrows a rule."""
    narrow = _rule("", 30)
    del narrow["Prefix"]
    narrow["Filter"] = {"And": {"Prefix": "archives/", "Tags": [{"Key": "a", "Value": "b"}]}}
    assert _bucket(ABORT, narrow)["bucket.lifecycle.archives"] is Level.NOTE


def test_bucket_and_projects_belong_in_one_region() -> None:
    """CodeBuild reads no bucket of another region."""
    facts = BucketFacts("archives", "us-east-1", None, None)
    found = judge_bucket(facts, STORED, region="eu-west-1", retention_days=None)
    assert said(found) == {"bucket.region": Level.PROBLEM}


@pytest.mark.parametrize(
    ("project", "expected"),
    [
        ({}, {}),
        ({"source": {"type": "CODEPIPELINE"}}, {"project.source": Level.WARNING}),
        ({"webhook": {"url": "https://x"}}, {"project.webhook": Level.WARNING}),
        ({"secondarySources": [{"type": "S3"}]}, {"project.secondary-sources": Level.NOTE}),
        ({"concurrentBuildLimit": 1}, {"project.concurrent-build-limit": Level.NOTE}),
        ({"projectVisibility": "PUBLIC_READ"}, {"project.visibility": Level.WARNING}),
        ({"serviceRole": ""}, {"project.role": Level.WARNING}),
    ],
)
def test_each_trait_of_a_project_is_judged(
    project: Mapping[str, Any], expected: Mapping[str, Level]
) -> None:
    """Each trait prevents a start, or makes it work in an unexpected way."""
    whole = {"name": "web", "serviceRole": "arn:aws:iam::1:role/x", **project}
    found = judge_projects(["web"], [whole], (), region="eu-west-1", buildspec=None)
    assert said(found) == expected


def test_a_project_that_is_not_there_is_a_problem() -> None:
    """The finding has its name and where it was looked for."""
    (found,) = judge_projects(["web"], [], ["web"], region="eu-west-1", buildspec=None)
    assert (found.level, found.name) == (Level.PROBLEM, "project.exists")
    assert "web" in found.what
    assert "eu-west-1" in found.what


@pytest.mark.parametrize(
    ("answer", "denied", "level"),
    [
        ("NoSuchUpload", False, Level.OK),
        ("AccessDenied", True, Level.PROBLEM),
        ("InternalError", False, Level.NOTE),
    ],
)
def test_a_right_is_reported_only_if_an_answer_shows_it(
    answer: str,
    denied: bool,  # noqa: FBT001 - a parameter
    level: Level,
) -> None:
    """Access denied is a problem, an answer about the resource is fine; others say nothing."""
    trial = Trial("s3:PutObject", "b/*", answer, frozenset({"NoSuchUpload"}), denied, "to write")
    first, rest = judge_trials([trial])
    assert first.level is level
    assert rest.level is Level.NOTE
    assert all(action in rest.what for action in NOT_TRIED)


@pytest.mark.parametrize(
    ("answer", "denied", "level"),
    [
        ("ResourceNotFoundException", False, Level.WARNING),
        ("AccessDeniedException", True, Level.OK),
        ("InternalError", False, Level.NOTE),
    ],
)
def test_a_right_that_is_too_wide_is_a_warning(
    answer: str,
    denied: bool,  # noqa: FBT001 - a parameter
    level: Level,
) -> None:
    """A role that may start any project is told which parameter narrows it."""
    allowed = frozenset({"ResourceNotFoundException"})
    trial = Trial("codebuild:StartBuild", "any", answer, allowed, denied, "why", too_wide=True)
    found, _ = judge_trials([trial])
    assert found.level is level
    assert ("ProjectArns" in found.remedy) is (level is Level.WARNING)


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ([], 0),
        ([(Level.NOTE, FindingKind.SETUP)], 0),
        ([(Level.WARNING, FindingKind.RIGHTS)], 1),
        ([(Level.PROBLEM, FindingKind.REACH)], 75),
        ([(Level.PROBLEM, FindingKind.REACH), (Level.PROBLEM, FindingKind.RIGHTS)], 77),
        ([(Level.PROBLEM, FindingKind.RIGHTS), (Level.PROBLEM, FindingKind.SETUP)], 78),
    ],
)
def test_the_exit_code_names_the_first_thing_to_change(
    kinds: list[tuple[Level, FindingKind]], code: int
) -> None:
    """Set-up comes before rights, rights before the network; warnings alone are 1."""
    findings = [Finding(level, "x", "x", kind=kind) for level, kind in kinds]
    assert exit_code_of(findings) == code
