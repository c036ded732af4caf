"""The tables of docs/cost.md: three organisations, and each way of building their pushes.

`python bench/cost.py` prints them; a test compares them with the page. A model, not a bill: where
its numbers come from, and which are unverified, the page says.
"""

from dataclasses import dataclass

# US dollars, us-east-1
VCPU_HOUR, GB_HOUR, DISK_GB_HOUR = 0.04048, 0.004445, 0.000111  # Fargate; disk beyond 20 GB
S3_GB_MONTH, S3_WRITE, S3_READ = 0.023, 0.005 / 1_000, 0.0004 / 1_000
SQS_REQUEST, PIPE_REQUEST = 0.5 / 1e6, 0.4 / 1e6
WATCHING = 5.0  # alarms, metrics, dashboard
WATCHING_RESULTS = 2.0  # their metrics and alarms
BUILD_MINUTE = 0.005
PIPELINE_V1, PIPELINE_V2_MINUTE = 1.0, 0.002
LAMBDA_GB_SECOND, LAMBDA_REQUEST = 0.0000166667, 0.2 / 1e6
HOURS = 730
POLLS = 2 * 3 * 60 * HOURS  # of the queue of results by a task: two, of twenty seconds
ROUNDS = 6 * HOURS  # every ten minutes
LOOKS = HOURS  # rounds that look for missed pushes, every hour
LOOK_POLLS = 3 * 60 * HOURS  # of their queue by a task: one, of twenty seconds
CUSTOM_EVENT = 1.0 / 1e6
# Until a task is there, and the quarter of an hour that target tracking takes to end an idle one.
AWAKE_HOURS = 17 / 60

READS = 3  # of S3 for each push


@dataclass(frozen=True)
class Organisation:
    """One of three organisations, and its assumed figures."""

    name: str
    repositories: int
    pushes: int  # a month
    archive_gb: float
    writes: int  # to S3 for each push
    archive_days: int
    vcpu: float
    memory_gb: float
    disk_gb: int
    tasks: float  # on average
    branches: int  # active in a month
    build_minutes: float
    zip_seconds: float  # until a build has its source
    clone_seconds: float
    lambda_gb: float
    lambda_seconds: float

    def task_hour(self) -> float:
        """Return dollars for an hour of a task."""
        hour = self.vcpu * VCPU_HOUR + self.memory_gb * GB_HOUR
        return hour + (self.disk_gb - 20) * DISK_GB_HOUR

    def fargate(self) -> float:
        """Return dollars for task hours."""
        return self.task_hour() * HOURS * self.tasks

    def storage(self) -> float:
        """Return dollars for archives, for as long as they are kept."""
        return self.pushes * self.archive_days / 30 * self.archive_gb * S3_GB_MONTH

    def requests(self) -> float:
        """Return dollars for requests to S3, SQS and EventBridge Pipes."""
        s3 = self.writes * S3_WRITE + READS * S3_READ
        return self.pushes * (s3 + 6 * SQS_REQUEST + PIPE_REQUEST)

    def results(self) -> float:
        """Return dollars for finding out how each build ended; every push is one build."""
        ends = self.pushes * sum(dollars for _, _, dollars in RESULT)
        rounds = ROUNDS * (S3_WRITE + 3 * SQS_REQUEST)
        return ends + rounds + self.tasks * POLLS * SQS_REQUEST + WATCHING_RESULTS

    def looks(self) -> float:
        """Return dollars for looking for pushes that no event told.

        A push has its snapshot written and records listed, at most once each.
        """
        rounds = LOOKS * self.repositories * sum(dollars for _, _, dollars in LOOK)
        return rounds + self.pushes * 2 * S3_WRITE + self.tasks * LOOK_POLLS * SQS_REQUEST

    def asyncbuild(self) -> float:
        """Return dollars for all of the service."""
        used = self.fargate() + self.storage() + self.requests() + self.results() + self.looks()
        return used + WATCHING

    def waiting(self, seconds: float) -> float:
        """Return dollars for billed minutes of builds that wait for their source."""
        return self.pushes * seconds / 60 * BUILD_MINUTE

    def in_lambda(self) -> float:
        """Return dollars for a function that fetches without a cache, and makes equal archives."""
        run = self.lambda_gb * self.lambda_seconds * LAMBDA_GB_SECOND + LAMBDA_REQUEST
        return self.pushes * run + self.storage() + self.requests() + WATCHING

    def pipelines_v2(self) -> float:
        """Return dollars for minutes of source and build actions."""
        return self.pushes * (1 + self.build_minutes) * PIPELINE_V2_MINUTE


# What one result takes: name, requests, dollars.
RESULT = (
    ("event of CodeBuild through the rule", 1, 0.0),
    ("SQS: send, receive, delete", 3, 3 * SQS_REQUEST),
    ("S3 writes: entry of the index and mark at the start, result at the end", 3, 3 * S3_WRITE),
    ("S3 read: entry of the index", 1, S3_READ),
    ("S3 delete: the mark", 1, 0.0),
    ("BatchGetBuilds: of up to 100 builds that end at a time, at most", 1, 0.0),
)

# What a look at one repository takes in a round, if no ref has moved: name, requests, dollars.
LOOK = (
    ("SQS: send (ten in a request), receive, delete", 2.1, 2.1 * SQS_REQUEST),
    ("S3 read: what the last round saw", 1, S3_READ),
    ("the git server: a list of refs", 1, 0.0),
)

# What the events of one end take: name, requests, dollars.
OUTCOME = (
    ("event on a bus of your own account", 1, CUSTOM_EVENT),
    ("S3 read: the ends before", 1, S3_READ),
    ("S3 write: the end", 1, S3_WRITE),
)

ORGANISATIONS = (
    Organisation(
        *("small", 20, 2_000, 0.02, 3, 30, 0.5, 1, 21, 1.0),
        *(120, 5, 3, 10, 2, 10),
    ),
    Organisation(
        *("200 repositories", 200, 40_000, 0.02, 3, 30, 1, 2, 50, 1.2),
        *(1_200, 5, 3, 10, 2, 10),
    ),
    Organisation(
        *("monorepo", 1, 44_000, 0.3, 42, 3, 2, 4, 100, 1.0),
        *(150, 10, 20, 90, 4, 120),
    ),
)


def dollars(value: float) -> str:
    """Return dollars as text, with cents for small amounts."""
    return f"{value:,.2f}" if value < 1 else f"{value:,.0f}"


def tables() -> tuple[str, ...]:
    """Return the tables of the page, in their order.

    Each organisation with the service's cost, the costs of other ways, the cost of results, of
    rounds that wake a service, of looking for missed pushes, and of outcome events.
    """
    first: list[tuple[str, list[str]]] = [
        ("repositories", [f"{each.repositories:,}" for each in ORGANISATIONS]),
        ("pushes a month", [f"{each.pushes:,}" for each in ORGANISATIONS]),
        (
            "archive, kept",
            [f"{each.archive_gb:g} GB, {each.archive_days} days" for each in ORGANISATIONS],
        ),
        (
            "task: vCPU, GB, disk",
            [f"{each.vcpu:g}, {each.memory_gb:g}, {each.disk_gb}" for each in ORGANISATIONS],
        ),
        ("tasks on average", [f"{each.tasks:g}" for each in ORGANISATIONS]),
        ("Fargate", [dollars(each.fargate()) for each in ORGANISATIONS]),
        ("S3 storage", [dollars(each.storage()) for each in ORGANISATIONS]),
        ("S3, SQS and pipe requests", [dollars(each.requests()) for each in ORGANISATIONS]),
        ("results of builds, with metrics", [dollars(each.results()) for each in ORGANISATIONS]),
        ("looking for missed pushes", [dollars(each.looks()) for each in ORGANISATIONS]),
        ("alarms, metrics, dashboard", [dollars(WATCHING) for _ in ORGANISATIONS]),
        (
            "**asyncbuild, a month**",
            [f"**{dollars(each.asyncbuild())}**" for each in ORGANISATIONS],
        ),
        (
            "for comparison: the builds themselves",
            [dollars(each.pushes * each.build_minutes * BUILD_MINUTE) for each in ORGANISATIONS],
        ),
    ]
    second: list[tuple[str, list[str]]] = [
        (
            "asyncbuild",
            [_both(each.asyncbuild(), each.waiting(each.zip_seconds)) for each in ORGANISATIONS],
        ),
        (
            "a pipeline for each branch, V1",
            [
                _both(each.branches * PIPELINE_V1, each.waiting(each.zip_seconds))
                for each in ORGANISATIONS
            ],
        ),
        (
            "a pipeline for each branch, V2",
            [_both(each.pipelines_v2(), each.waiting(each.zip_seconds)) for each in ORGANISATIONS],
        ),
        (
            "CodeBuild's own CodeCommit source",
            [_both(0, each.waiting(each.clone_seconds)) for each in ORGANISATIONS],
        ),
        (
            "an EventBridge rule straight to CodeBuild",
            [_both(0, each.waiting(each.clone_seconds)) for each in ORGANISATIONS],
        ),
        (
            "a Lambda that makes archives",
            [_both(each.in_lambda(), each.waiting(each.zip_seconds)) for each in ORGANISATIONS],
        ),
    ]
    names = ["", *(each.name for each in ORGANISATIONS)]
    return (
        *(_table(names, first), _table(names, second)),
        *(_thousand(RESULT, "results"), _rounds()),
        *(_thousand(LOOK, "repositories"), _looks(), _thousand(OUTCOME, "ends")),
    )


def _thousand(parts: tuple[tuple[str, float, float], ...], what: str) -> str:
    rows = [(name, [f"{1_000 * count:,.0f}", f"{1_000 * each:.4f}"]) for name, count, each in parts]
    whole = 1_000 * sum(each for _, _, each in parts)
    rows.append((f"**1,000 {what}**", ["", f"**{whole:.4f}**"]))
    return _table(["", "requests", "dollars"], rows)


def _looks() -> str:
    sizes = (20, 200, 1_000, 10_000)
    each = sum(dollars for _, _, dollars in LOOK)
    rows = [
        (name, [dollars(HOURS / hours * size * each) for size in sizes])
        for name, hours in (("10 minutes", 1 / 6), ("1 hour", 1), ("6 hours", 6), ("24 hours", 24))
    ]
    return _table(["a round every", *(f"{size:,} repositories" for size in sizes)], rows)


def _rounds() -> str:
    every = (("10 minutes", HOURS), ("1 hour", HOURS * AWAKE_HOURS))
    seldom = tuple((f"{n} hours", HOURS / n * AWAKE_HOURS) for n in (6, 24))
    rows = [
        (name, [f"{hours:,.0f}", *(dollars(hours * each.task_hour()) for each in ORGANISATIONS)])
        for name, hours in (*every, *seldom)
    ]
    return _table(["a round every", "task hours", *(each.name for each in ORGANISATIONS)], rows)


def _both(way: float, waiting: float) -> str:
    return f"{dollars(way)} + {dollars(waiting)} = {dollars(way + waiting)}"


def _table(head: list[str], rows: list[tuple[str, list[str]]]) -> str:
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print("\n\n".join(tables()))
