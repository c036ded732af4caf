"""Views of a run to compare: shapes of documents, and texts without parts that vary."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from prometheus_client.parser import text_string_to_metric_families
from support.interface import as_json, as_lines
from support.interface_run import Run

# Events that a run may or may not have: renewals of leases, for example, on a slow machine.
_BY_CHANCE: Final = frozenset(
    {
        *("lease.renewed", "lease.renewal-failed", "lane.released"),
        *("library.logged", "service.memory", "result.delayed"),
    }
)
_OWN_ID: Final = "00000000-0000-4000-8000-"
_MASKS: Final = (
    (re.compile(rf"(?!{_OWN_ID})[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}"), "<uuid>"),
    (re.compile(r"\b(?!20250301T|20261101T102343Z)20\d{6}T\d{6}Z"), "<time>"),
    (re.compile(r"/20\d{6}T\d\d/"), "/<hour>/"),
    (re.compile(r"/[\w/]+/asyncbuild-demo-\w+"), "<directory>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r":build/([\w-]+):<uuid>|^([\w-]+):<uuid>"), r":build/\1\2:<uuid>"),
)
# Values that follow from clocks, servers and the processor's deflate.
_VALUES: Final = frozenset(
    {
        *("recorded_at", "etag", "version_id", "size_bytes", "sent_bytes", "copied_bytes"),
        *("directory_offset", "directory_bytes", "number", "fetch", "archive", "start"),
        *("asyncbuild-writer", "asyncbuild-upload"),
        *("started_at", "ended_at", "observed_at", "renewed"),
        *("queued_seconds", "provisioning_seconds", "building_seconds"),
    }
)


def mask(text: str) -> str:
    """Return the text without ids, times and addresses of this run."""
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text


def masked(document: Any, name: str = "") -> Any:  # noqa: ANN401 - JSON
    """Return the document without values of this run, and without sentences for people."""
    if isinstance(document, Mapping):
        return {mask(key): masked(value, key) for key, value in document.items()}
    if isinstance(document, list):
        return [masked(each, name) for each in document]
    if document is not None and name in _VALUES:
        return f"<{_type_of(document)}>"
    if name == "reason" and not str(document).startswith("rule: "):
        return "<text>"
    return mask(document) if isinstance(document, str) else document


def shape(*documents: Any) -> Any:  # noqa: ANN401 - JSON
    """Return names and types of documents of one kind; lists as the shape of all elements."""
    mappings = [each for each in documents if isinstance(each, Mapping)]
    lists = [each for each in documents if isinstance(each, list)]
    others = {_type_of(each) for each in documents if not isinstance(each, Mapping | list)}
    if mappings:
        values = defaultdict(list)
        for each in mappings:
            for name, value in each.items():
                values[name].append(value)
        told: Any = {
            name + "?" * (len(found) < len(mappings)): shape(*found)
            for name, found in values.items()
        }
    elif lists:
        told = [shape(*(value for each in lists for value in each))]
    else:
        return " or ".join(sorted(others))
    return {"or": sorted(others), "": told} if others else told


def _type_of(value: object) -> str:
    return "null" if value is None else type(value).__name__


def log_of(run: Run) -> str:
    """Return level and fields of each event, with their types."""
    lines = defaultdict(list)
    levels = defaultdict(set)
    for line in run.logged:
        if line["event"] not in _BY_CHANCE:
            fields = {name: value for name, value in line.items() if name not in {"event", "level"}}
            lines[line["event"]].append(fields)
            levels[line["event"]].add(line["level"])
    return as_lines(
        {
            f"{event} ({' or '.join(sorted(levels[event]))})": shape(*found)
            for event, found in sorted(lines.items())
        }
    )


def keys_of(run: Run) -> str:
    """Return each object of the bucket: key, content type and metadata."""
    told = {}
    for key, answer in run.objects.items():
        about = {"type": answer["ContentType"], **masked(answer["Metadata"])}
        told[mask(key)] = about
    return as_lines(dict(sorted(told.items())))


def records_of(run: Run) -> str:
    """Return the content of each record; of those named after an id of this run, the shape."""
    found = defaultdict(list)
    for key, answer in run.objects.items():
        if key.endswith(".json"):
            found[mask(key)].append(masked(orjson.loads(answer["Body"])))
    told = {key: shape(*each) if "/started/" in key else each[-1] for key, each in found.items()}
    return as_json(told)


def builds_of(run: Run) -> str:
    """Return each StartBuild and StartPipelineExecution, by its token."""
    started = [*run.builds, *run.executions]
    by_token = {
        each.get("idempotencyToken") or each["clientRequestToken"]: each for each in started
    }
    assert len(by_token) == len(started)
    told = sorted((masked(each) for each in started), key=str)
    return as_json(told)


def dead_letters_of(run: Run) -> str:
    """Return the attributes of each dead letter."""
    told = []
    for message in run.dead_letters:
        attributes = {
            name: [each["DataType"], each["StringValue"]]
            for name, each in message["MessageAttributes"].items()
        }
        for name in ("Reason", "OriginalSequenceNumber", "webhook-sent", "X-Hub-Signature-256"):
            if name in attributes:
                attributes[name][1] = "<text>"
        told.append({"group": message["Attributes"]["MessageGroupId"], **masked(attributes)})
    return as_json(sorted(told, key=str))


def pages_of(run: Run) -> str:
    """Return status and headers of each page."""
    told = {}
    for path, (status, headers, _) in run.pages.items():
        kept = {
            str(name): value
            for name, value in headers.items()
            if name not in {"Date", "Content-Length", "Transfer-Encoding"}
        }
        told[path] = {"status": status, **kept}
    return as_json(told)


def metrics_of(run: Run) -> str:
    """Return name and type of each metric, and its samples with their labels."""
    text = run.pages["/metrics for the owner"][2].decode()
    lines = []
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("asyncbuild"):
            continue
        lines.append(f"{family.name} {family.type}")
        for sample in family.samples:
            labels = ",".join(
                f"{name}={'<version>' if name == 'version' else value}"
                for name, value in sorted(sample.labels.items())
            )
            if not sample.name.endswith("_created"):
                lines.append(f"  {sample.name} {labels}".rstrip())
    return "\n".join(lines)


def embedded_of(run: Run) -> str:
    """Return each kind of line in the embedded metric format."""
    kinds = {}
    for line in run.embedded:
        directive = line["_aws"]["CloudWatchMetrics"]
        rest = {name: value for name, value in line.items() if name != "_aws"}
        kind = {"metrics": directive, "shape": shape(rest), "about": list(line["_aws"])}
        kinds[as_json(kind)] = kind
    return as_json([kinds[each] for each in sorted(kinds)])


def spans_of(run: Run) -> str:
    """Return each span: kind, attributes with their types, whether it failed; and the resource."""
    attributes = defaultdict(list)
    about = defaultdict(set)
    resources = []
    for resource in run.traces:
        resources.append(_attributes(resource.resource.attributes))
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes[span.name].append(_attributes(span.attributes))
                about[span.name].add(f"kind {span.kind}, status {span.status.code}")
    return as_json(
        {
            "resource": shape(*resources),
            "scopes": sorted(
                {scope.scope.name for each in run.traces for scope in each.scope_spans}
            ),
            "spans": {
                name: {"is": sorted(about[name]), "attributes": shape(*found)}
                for name, found in attributes.items()
            },
        }
    )


def _attributes(values: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in values}


def outputs_of(run: Run) -> str:
    """Return the shape of the output of each command with --json."""
    told = {}
    for name, ended in run.commands.items():
        try:
            documents = [orjson.loads(ended.output)]
        except orjson.JSONDecodeError:
            documents = [orjson.loads(line) for line in ended.output.splitlines()]
        told[name] = shape(*documents)
        findings = documents[0].get("findings")
        if findings:
            told[f"{name}, findings"] = sorted({each["name"] for each in findings})
    return as_json(told)


def status_of(run: Run) -> str:
    """Return the shape of the status document, without parts that depend on chance."""
    document = orjson.loads(run.pages["/status.json for the owner"][2])
    document |= dict.fromkeys(("lanes", "outages", "past_outages"), "a list")
    return as_json(shape(document))


def cache_of(run: Run) -> str:
    """Return directories and files of the cache; ids of objects as <id>."""
    paths = {re.sub(r"[0-9a-f]{40,64}", "<id>", path) for path in run.cache}
    return "\n".join(sorted(path for path in paths if "/objects/" not in path))
