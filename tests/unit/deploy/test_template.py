"""The stacks of deploy/ fit the service: names, times, places, and the words in docs/."""

import json
import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import pytest
from cfnlint.api import lint
from support.stacks import (
    ACCOUNT,
    ALARMS,
    DASHBOARD,
    ENDPOINTS,
    ROOT,
    SERVICE,
    STACKS,
    as_list,
    container,
    environment,
    iter_values,
    of_type,
    properties,
    statements,
    template,
)

from asyncbuild import config
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.checks.judges.finding import Level
from asyncbuild.checks.judges.queues.reports_queue import judge_reports_queue
from asyncbuild.commands.cli import cli
from asyncbuild.commands.template import NAMES, compact, read
from asyncbuild.git.seeds.plans.seed_due import RENEWAL_AGE

# A template may be this long where it is not read from S3 (CloudFormation quotas).
MOST_TEMPLATE_BYTES = 51_200
# StartBuild, idempotencyToken (CodeBuild API reference).
TOKEN_LIFETIME_SECONDS = 300
FARGATE_MOST_STOP_SECONDS = 120


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The service's stack."""
    return template(SERVICE)


@pytest.fixture(scope="module")
def account() -> dict[str, Any]:
    """The stack of an owner account."""
    return template(ACCOUNT)


# --- the templates as such ---


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_cfn_lint_finds_no_fault(path: Path) -> None:
    """All stacks are valid in the standard and the China partition."""
    regions = ["us-east-1", "eu-west-1", "cn-north-1"]
    assert [str(match) for match in lint(path.read_text(), regions=regions)] == []


@pytest.mark.parametrize("name", NAMES)
def test_printed_template_fits_into_one_call(name: str) -> None:
    """A template as it is printed can be deployed without being put into a bucket first."""
    assert len(compact(read(name)).encode()) < MOST_TEMPLATE_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_printed_template_equals_the_readable_one(name: str) -> None:
    """Another reader of the YAML, cfn-lint's, finds the same tree as JSON's own."""
    assert json.loads(compact(read(name))) == template(ROOT / "deploy" / NAMES[name])


def test_projects_have_no_default(service: Mapping[str, Any]) -> None:
    """A new stack requires the projects that may be started; no default allows any."""
    assert "Default" not in service["Parameters"]["ProjectArns"]


def test_only_the_task_and_operators_write_to_the_bucket(service: Mapping[str, Any]) -> None:
    """Changes of objects are denied to all others, whatever their own policies allow."""
    denied = [
        each
        for each in statements(properties(service, "BucketPolicy")["PolicyDocument"])
        if each["Sid"] == "OnlyTaskAndOperatorsWrite"
    ]
    (statement,) = denied
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    writes = [
        "PutObject",
        "PutObjectAcl",
        "PutObjectTagging",
        "DeleteObject",
        "DeleteObjectVersion",
    ]
    for write in writes:
        assert any(fnmatch(f"s3:{write}", action) for action in statement["Action"]), write
    assert not any(fnmatch("s3:PutBucketPolicy", action) for action in statement["Action"])
    admitted = statement["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]["Fn::If"]
    assert admitted[0] == "WithOperators"
    assert admitted[2] == {"Fn::GetAtt": ["TaskRole", "Arn"]}
    assert {"Ref": "OperatorRoleArns"} in iter_values(admitted[1])
    assert {"Fn::GetAtt": ["TaskRole", "Arn"]} in iter_values(admitted[1])


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_no_partition_region_or_account_is_hard_coded(path: Path) -> None:
    """ARNs are made with AWS::Partition, and no Region or account is named outside of texts."""
    stack = template(path)
    texts = [value for value in iter_values(stack["Resources"]) if isinstance(value, str)]
    assert [
        text for text in texts if re.search(r"arn:aws|\b[0-9]{12}\b|[a-z]-[a-z]+-\d", text)
    ] == []


def test_every_stack_is_printed_and_in_the_wheel() -> None:
    """An installed package can deploy each stack of deploy/."""
    names = {path.name for path in STACKS}
    assert set(NAMES.values()) == names
    offered = cli.commands["template"].params[0].type
    assert isinstance(offered, click.Choice)
    assert set(offered.choices) == set(NAMES)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = wheel["targets"]["wheel"]["force-include"]
    given = {name for name in included if name.startswith("deploy/")}
    assert given == {f"deploy/{name}" for name in names}
    assert all(included[name] == f"asyncbuild/{name}" for name in given)


# --- the way to AWS ---


def test_an_update_never_deletes_endpoints_unasked(service: Mapping[str, Any]) -> None:
    """A stack that made endpoints keeps its parameter, and with it the update is refused."""
    (assertion,) = service["Rules"]["EndpointsAreElsewhere"]["Assertions"]
    assert "RuleCondition" not in service["Rules"]["EndpointsAreElsewhere"]
    assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "CreateVpcEndpoints"}, "false"]}
    assert service["Parameters"]["CreateVpcEndpoints"]["Default"] == "false"
    told = re.search(r"(docs/[\w.]+)", assertion["AssertDescription"])
    assert told
    assert "CreateVpcEndpoints=false" in (ROOT / told[1]).read_text()
    assert of_type(service, "AWS::EC2::VPCEndpoint") == {}


def test_endpoints_lead_to_each_service_that_is_called() -> None:
    """Services of the task's and the execution role's rights have an endpoint each."""
    stack = template(ENDPOINTS)
    endpoints = of_type(stack, "AWS::EC2::VPCEndpoint")
    reached = {
        each["ServiceName"]["Fn::Sub"].removeprefix("com.amazonaws.${AWS::Region}.")
        for each in endpoints.values()
    }
    roles = [properties(template(SERVICE), name) for name in ("TaskRole", "ExecutionRole")]
    actions = {
        action.partition(":")[0]
        for role in roles
        for policy in role["Policies"]
        for statement in statements(policy["PolicyDocument"])
        for action in as_list(statement["Action"])
    }
    # Keys are used by S3 and SQS in the task's name; git has a name of its own; ECR has two.
    needed = (actions - {"kms", "ecr"}) | {"git-codecommit", "ecr.api", "ecr.dkr"}
    assert needed <= reached
    assert reached - needed <= {"codecommit", "events"}


def test_endpoints_admit_the_whole_vpc_over_https_alone() -> None:
    """Private DNS names bind all of the VPC, so others in it need the way, too."""
    stack = template(ENDPOINTS)
    ((_, group),) = of_type(stack, "AWS::EC2::SecurityGroup").items()
    (ingress,) = group["SecurityGroupIngress"]
    assert (ingress["FromPort"], ingress["ToPort"]) == (443, 443)
    assert ingress["CidrIp"] == {"Ref": "ClientCidr"}
    assert "Default" not in stack["Parameters"]["ClientCidr"]
    for each in of_type(stack, "AWS::EC2::VPCEndpoint").values():
        if each["VpcEndpointType"] == "Interface":
            assert each["SecurityGroupIds"] == [{"Ref": "SecurityGroup"}]


# --- settings ---


def test_every_variable_is_a_setting(
    service: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service reads each variable of the task, and together they are a whole configuration."""
    defaults = {name: each.get("Default") for name, each in service["Parameters"].items()}
    resolved = {
        "Queue": "https://sqs.eu-west-1.amazonaws.com/123456789012/asyncbuild.fifo",
        "DeadLetters": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo",
        "ResultQueue": "https://sqs.eu-west-1.amazonaws.com/123456789012/results",
        "ResultDeadLetters": "https://sqs.eu-west-1.amazonaws.com/123456789012/results-dead",
        "ReportQueue": "https://sqs.eu-west-1.amazonaws.com/123456789012/reports.fifo",
        "OutcomeBus": "default",
        "ReportDeadLetters": "https://sqs.eu-west-1.amazonaws.com/123456789012/reports-dead.fifo",
        "ReconcileQueue": "https://sqs.eu-west-1.amazonaws.com/123456789012/rounds.fifo",
        "ReconcileDeadLetters": "https://sqs.eu-west-1.amazonaws.com/123456789012/rounds-dead.fifo",
        "Bucket": "archives",
        "AWS::Region": "eu-west-1",
        "RulesJson": '[{"action": "build"}]',
        "AccountsJson": '[{"account": "123456789012", "role_arn": "arn:aws:iam::123456789012:role/r"}]',  # noqa: E501
        "HostsJson": '[{"host": "github.com", "kind": "github", "signature": "off"}]',
    }
    for name, value in environment(service).items():
        if isinstance(value, str):
            monkeypatch.setenv(name, value)
        elif "Ref" in value:
            monkeypatch.setenv(name, str(resolved.get(value["Ref"]) or defaults[value["Ref"]]))
        else:
            monkeypatch.setenv(name, service["Mappings"]["CacheBudget"]["50"]["Bytes"])
    settings = config.load(None)
    assert settings.queue.url == resolved["Queue"]
    assert settings.queue.dead_letter_url == resolved["DeadLetters"]
    assert settings.results.url == resolved["ResultQueue"]
    assert settings.results.dead_letter_url == resolved["ResultDeadLetters"]
    assert settings.reports.url == resolved["ReportQueue"]
    assert settings.reports.dead_letter_url == resolved["ReportDeadLetters"]
    assert settings.reports.event_bus == "default"
    assert settings.reconcile.url == resolved["ReconcileQueue"]
    assert settings.reconcile.dead_letter_url == resolved["ReconcileDeadLetters"]
    assert settings.storage.bucket == "archives"
    assert settings.git.cache_budget_bytes * 4 == 3 * 50 * config.GIB
    assert [each.account for each in settings.accounts] == ["123456789012"]
    assert [each.host for each in settings.hosts] == ["github.com"]


def test_every_size_of_disk_has_its_cache_budget(service: Mapping[str, Any]) -> None:
    """Three quarters of the disk, whatever size is chosen."""
    budgets = service["Mappings"]["CacheBudget"]
    assert [str(size) for size in service["Parameters"]["StorageGiB"]["AllowedValues"]] == [
        *budgets
    ]
    for size, budget in budgets.items():
        assert int(budget["Bytes"]) == int(size) * config.GIB * 3 // 4


def test_a_parameter_that_is_a_key_of_a_mapping_is_a_string(service: Mapping[str, Any]) -> None:
    """Keys are strings; not every server that takes the template turns a number into one."""
    text = json.dumps(service["Resources"], separators=(",", ":"))
    names = set(re.findall(r'FindInMap":\["\w+",\{"Ref":"(\w+)"\}', text))
    assert names
    for name in names & service["Parameters"].keys():
        assert service["Parameters"][name]["Type"] == "String"


def test_times_fit_into_each_other(service: Mapping[str, Any]) -> None:
    """A redelivery falls within the token's life, and a stopped task can release its messages."""
    settings = config.Settings()
    visibility = properties(service, "Queue")["VisibilityTimeout"]
    assert settings.queue.visibility_timeout_seconds == visibility
    assert visibility < TOKEN_LIFETIME_SECONDS / 2
    stop = container(service)["StopTimeout"]
    assert stop <= FARGATE_MOST_STOP_SECONDS
    assert float(environment(service)["ASYNCBUILD_SHUTDOWN_GRACE_SECONDS"]) < stop


def test_redrive_is_only_the_last_resort(service: Mapping[str, Any]) -> None:
    """Receives used by restarts and neighbours never dead-letter a push that was not tried."""
    settings = config.Settings()
    limit = properties(service, "Queue")["RedrivePolicy"]["maxReceiveCount"]
    assert limit > 2 * (settings.lanes.max_attempts + settings.queue.batch)


def test_a_result_waits_for_the_record_of_its_start(service: Mapping[str, Any]) -> None:
    """Ten minutes of tries every few seconds use up less than half of the receives."""
    limit = properties(service, "ResultQueue")["RedrivePolicy"]["maxReceiveCount"]
    pauses = [5 * 2**attempt for attempt in range(4)]  # from 5 s to a minute, doubled
    tries = len(pauses) + (600 - sum(pauses)) // 60
    assert limit > 2 * tries
    alarm = properties(template(ALARMS), "OldestResultAlarm")
    assert alarm["Threshold"] > 600  # such a wait is no reason for an alarm
    assert properties(service, "ResultQueue")["MessageRetentionPeriod"] > 86_400


def test_reports_have_a_queue_only_where_there_are_hosts_and_results(
    service: Mapping[str, Any],
) -> None:
    """Resources for commit statuses are made under one condition, and fits what `check` asks."""
    named = {name for name in service["Resources"] if "Report" in name}
    assert len(named) == 3
    assert {service["Resources"][name]["Condition"] for name in named} == {"WithReports"}
    has_results, has_hosts = service["Conditions"]["WithReports"]["Fn::And"]
    assert has_results == {"Condition": "WithResults"}
    assert has_hosts == {"Fn::Not": [{"Fn::Equals": [{"Ref": "HostsJson"}, "[]"]}]}
    queue = properties(service, "ReportQueue")
    told = {
        "FifoQueue": str(queue["FifoQueue"]).lower(),
        "RedrivePolicy": json.dumps(
            {
                "deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:d.fifo",
                "maxReceiveCount": queue["RedrivePolicy"]["maxReceiveCount"],
            }
        ),
        "MessageRetentionPeriod": str(queue.get("MessageRetentionPeriod", 345_600)),
    }
    found = judge_reports_queue("https://x/reports.fifo", told, config.Settings())
    assert {each.level for each in found} == {Level.OK}
    assert properties(service, "ReportDeadLetters")["FifoQueue"] is True


def test_rounds_come_to_a_queue_that_tells_them_apart(service: Mapping[str, Any]) -> None:
    """The Scheduler gives a group, and no deduplication id: the time in the body is one."""
    target = properties(service, "ReconcileSchedule")["Target"]
    queue = properties(service, "ReconcileQueue")
    assert target["Arn"] == {"Fn::GetAtt": ["ReconcileQueue", "Arn"]}
    assert queue["ContentBasedDeduplication"] is True
    assert queue["FifoQueue"] is True
    assert target["SqsParameters"] == {"MessageGroupId": "round"}
    assert json.loads(target["Input"]) == {
        "asyncbuild": "reconcile",
        "version": 1,
        "time": "<aws.scheduler.scheduled-time>",
    }
    assert properties(service, "ReconcileDeadLetters")["FifoQueue"] is True
    # Rounds that waited through an outage of days would be worked on one after the other.
    assert queue["MessageRetentionPeriod"] < 86_400


def test_seeds_end_when_they_are_no_longer_written(service: Mapping[str, Any]) -> None:
    """Seeds in use are renewed long before they expire, and records below the same live longer."""
    rules = properties(service, "Bucket")["LifecycleConfiguration"]["Rules"]
    (rule,) = [each for each in rules if each["Id"] == "seeds"]
    storage = config.Settings().storage
    assert rule["Prefix"] == storage.seed_prefix
    assert not storage.ledger_prefix.startswith(rule["Prefix"])
    assert rule["ExpirationInDays"] >= 2 * RENEWAL_AGE.days


def test_marks_of_unfinished_builds_end(service: Mapping[str, Any]) -> None:
    """A mark outlives the longest build, and not the ledger: each round asks for all of them."""
    keys = LedgerKeys(config.Settings().storage.ledger_prefix)
    rules = properties(service, "Bucket")["LifecycleConfiguration"]["Rules"]
    (rule,) = [each for each in rules if each.get("Prefix") == keys.all_unfinished]
    hours = 24 * rule["ExpirationInDays"]
    assert hours > 8 + 36  # queued and built at most (CodeBuild API reference, StartBuild)
    assert rule["ExpirationInDays"] < service["Parameters"]["LedgerDays"]["Default"]


def test_ledger_outlives_archives_and_waiting_messages(service: Mapping[str, Any]) -> None:
    """Archives and ledger have prefixes, and lives, of their own."""
    settings = config.Settings()
    rules = properties(service, "Bucket")["LifecycleConfiguration"]["Rules"]
    prefixes = {rule["Id"]: rule.get("Prefix") for rule in rules}
    assert str(environment(service)["ASYNCBUILD_STORAGE__KEY"]).startswith(prefixes["archives"])
    assert settings.storage.ledger_prefix.startswith(prefixes["ledger"])
    waiting_days = properties(service, "Queue")["MessageRetentionPeriod"] / 86_400
    assert service["Parameters"]["LedgerDays"]["MinValue"] >= waiting_days
    assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)


# --- the task and the image ---


def test_task_runs_the_image_as_built(service: Mapping[str, Any]) -> None:
    """User and writable directories are those of the Dockerfile; everything else is read-only."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    task = container(service)
    user = re.search(r"^USER (\S+)$", dockerfile, re.MULTILINE)
    volumes = re.search(r"^VOLUME (\[.+\])$", dockerfile, re.MULTILINE)
    assert user
    assert volumes
    assert task["User"] == user[1]
    assert task["ReadonlyRootFilesystem"] is True
    mounted = {each["ContainerPath"] for each in task["MountPoints"]}
    assert mounted == set(json.loads(volumes[1]))
    assert environment(service)["ASYNCBUILD_GIT__CACHE_DIRECTORY"] in mounted
    assert task["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


def test_image_and_task_use_the_services_health_probe(service: Mapping[str, Any]) -> None:
    """Both probes are the service's own command, which reads the address from the same settings."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    probe = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.+\])$", dockerfile, re.MULTILINE)
    assert probe
    assert json.loads(probe[1]) == ["asyncbuild", "health"]
    assert container(service)["HealthCheck"]["Command"] == ["CMD", "asyncbuild", "health"]


# --- alarms ---


def _resolve(value: object, service: Mapping[str, Any]) -> object:
    """Return a name as both stacks give it: what it is in a service's stack of the name `S`."""
    if isinstance(value, Mapping) and "Fn::Sub" in value:
        return re.sub(r"\$\{(AWS::StackName|ServiceStack)\}", "S", value["Fn::Sub"])
    if isinstance(value, Mapping) and "Fn::GetAtt" in value:
        return _resolve(properties(service, value["Fn::GetAtt"][0])["QueueName"], service)
    if value == {"Ref": "AlarmTopic"}:
        topic = _resolve(properties(service, "AlarmTopic")["TopicName"], service)
        return f"arn:${{AWS::Partition}}:sns:${{AWS::Region}}:${{AWS::AccountId}}:{topic}"
    return value


def test_alarms_beside_the_service_watch_its_queues_and_tell_its_topic(
    service: Mapping[str, Any],
) -> None:
    """The stack of alarms finds queues and topic by their names; CloudWatch would accept any."""
    queues = {
        _resolve(each["QueueName"], service)
        for each in of_type(service, "AWS::SQS::Queue").values()
    }
    alarms = of_type(template(ALARMS), "AWS::CloudWatch::Alarm")
    for name, alarm in alarms.items():
        assert _resolve(alarm["AlarmName"], service) not in {
            _resolve(each.get("AlarmName"), service)
            for each in of_type(service, "AWS::CloudWatch::Alarm").values()
        }
        (dimension,) = alarm["Dimensions"]
        assert _resolve(dimension["Value"], service) in queues, name
        assert dimension["Name"] == ("queue" if alarm["Namespace"] == "asyncbuild" else "QueueName")


def test_rounds_that_stay_away_alarm_before_a_push_is_missed_for_long(
    service: Mapping[str, Any],
) -> None:
    """No value is no round; the window is longer than the slowest round that the stack chooses."""
    alarm = properties(template(ALARMS), "RoundsStayAwayAlarm")
    assert alarm["TreatMissingData"] == "breaching"
    hours = template(ALARMS)["Parameters"]["RoundlessHours"]
    assert alarm["EvaluationPeriods"] == {"Ref": "RoundlessHours"}
    assert alarm["Period"] * hours["MaxValue"] <= 7 * 86_400  # CloudWatch, PutMetricAlarm
    schedule = properties(service, "ReconcileSchedule")["ScheduleExpression"]
    rates = [each for each in iter_values(schedule) if str(each).startswith("rate(")]
    slowest = max(int(re.sub(r"\D", "", rate)) for rate in rates)
    assert rates == ["rate(6 hours)", "rate(1 hour)"]
    assert hours["Default"] > 2 * slowest


def test_every_alarm_is_explained(service: Mapping[str, Any]) -> None:
    """An alarm for people names its heading in docs/operations.md, and the heading is there."""
    operations = (ROOT / "docs" / "operations.md").read_text()
    headings = set(re.findall(r"^#+ (.+)$", operations, re.MULTILINE))
    alarms = {
        **of_type(service, "AWS::CloudWatch::Alarm"),
        **of_type(template(ALARMS), "AWS::CloudWatch::Alarm"),
    }
    topic = _resolve({"Ref": "AlarmTopic"}, service)
    named = set()
    for name, alarm in alarms.items():
        if name == "WaitingAtZero":  # starts the first task; notifies no person
            continue
        assert alarm["AlarmActions"] == alarm["OKActions"]
        assert [_resolve(each, service) for each in alarm["AlarmActions"]] == [topic]
        found = re.search(r'docs/operations\.md, "(.+)"', alarm["AlarmDescription"])
        assert found, name
        named.add(found[1])
    assert len(named) == len(alarms) - 1
    assert named <= headings


def test_dashboard_is_json_and_shows_what_the_service_has(service: Mapping[str, Any]) -> None:
    """The body parses, and each name in it is one that the service's stack gives."""
    text, given_names = properties(template(DASHBOARD), "Dashboard")["DashboardBody"]["Fn::Sub"]
    known = {*template(DASHBOARD)["Parameters"], *given_names}
    for name in re.findall(r"\$\{([\w:.]+)\}", text):
        assert name.startswith("AWS::") or name in known
    text = re.sub(r"\$\{(ServiceStack|Alarm)\}", "${AWS::StackName}", text)
    more = given_names["MoreAlarms"]["Fn::If"][1]["Fn::Sub"][0]
    text = text.replace("${MoreAlarms}", more.replace("${Alarm}", "${AWS::StackName}"))
    document = json.loads(re.sub(r"\$\{(?!AWS::StackName)[\w:.]+\}", "1", text))
    assert len(document["widgets"]) >= 6
    alarms_beside = _named(template(ALARMS)["Resources"], "AlarmName")
    named_alarms = {
        each["Fn::Sub"].replace("${ServiceStack}", "${AWS::StackName}")
        for each in (*_named(service["Resources"], "AlarmName"), *alarms_beside)
    }
    given = named_alarms | {
        each["Fn::Sub"]
        for name in ("QueueName", "ClusterName", "LogGroupName", "MetricName")
        for each in _named(service["Resources"], name)
        if "Fn::Sub" in each
    }
    shown = set(re.findall(r"/?[\w/]*\$\{AWS::StackName\}[\w.-]*", text))
    assert shown - {"${AWS::StackName}"} <= given
    alarms = {each for each in given if f'"{each}"' in text}
    optional = {"inbox", "unfinished-build", "oldest-report", "report-dead-letters"}
    assert named_alarms - alarms == {f"${{AWS::StackName}}-{each}" for each in optional}


def _named(tree: object, name: str) -> list[Any]:
    """Every value of properties of this name in a template."""
    return [each[name] for each in iter_values(tree) if isinstance(each, Mapping) and name in each]
