"""The Grafana dashboard and the Prometheus alerts query only series that the service exposes."""

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.status import NOW, Clock, survey

from asyncbuild.status.exporters.prometheus import Metrics
from asyncbuild.status.history import Chronicle
from asyncbuild.status.schema import Depth

_ROOT = Path(__file__).parents[3]
_ALERTS = _ROOT / "deploy" / "prometheus-alerts.yaml"
_DASHBOARD = _ROOT / "deploy" / "grafana-dashboard.json"
# Words of PromQL that are neither metrics nor labels: functions, keywords, aggregations.
_WORDS = frozenset(
    re.findall(
        r"\w+",
        "absent and by count histogram_quantile increase label_values max min min_over_time "
        "or rate sum",
    )
)
# What a scrape adds to every series.
_SCRAPED = frozenset({"instance", "job"})


def _series() -> dict[str, dict[str, set[str]]]:
    """Every series: its name, its labels and their values."""
    look = survey(Chronicle(Clock()), Clock())
    look.sampled.depth = Depth(1, 2, 3, NOW)
    body, _ = Metrics(look).expose("")
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def _dashboard() -> Mapping[str, Any]:
    document: Mapping[str, Any] = orjson.loads(_DASHBOARD.read_bytes())
    return document


def _rules() -> list[Mapping[str, Any]]:
    yaml = importlib.import_module("yaml")  # has no types; cfn-lint needs it, too
    (group,) = yaml.safe_load(_ALERTS.read_text())["groups"]
    return list(group["rules"])


def _questions() -> Iterator[tuple[str, str, str]]:
    """Yield the place, the expression, and the legend or text with labels in braces."""
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"], target["legendFormat"]
    for variable in _dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"], ""
    for rule in _rules():
        yield f"alert {rule['alert']}", rule["expr"], " ".join(rule["annotations"].values())


_QUESTIONS = list(_questions())


@pytest.mark.parametrize(
    ("where", "expression", "text"), _QUESTIONS, ids=[q[0] for q in _QUESTIONS]
)
def test_panels_and_alerts_query_existing_series(where: str, expression: str, text: str) -> None:
    """Metric, labels and their values are exposed; labels of the legend are those that remain."""
    series = _series()
    asked = set(re.findall(r"\b(?:asyncbuild|process)_\w+", expression))
    assert asked, where
    assert asked <= series.keys(), asked - series.keys()
    labels = set().union(*(series[name].keys() for name in asked)) | _SCRAPED
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        for label, sign, value in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', selector):
            assert label in labels, (where, label)
            if label in series[name] and sign in {"=", "=~"}:
                known = series[name][label]
                assert all(each in known for each in value.split("|")), (where, value)
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= labels, where
    for label in re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text):
        assert label in labels, (where, label)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)", " ", expression)
    words = set(re.findall(r"(?<![$\d.])\b[a-z_]+\b", bare)) - asked - {"job"}
    assert words <= _WORDS, (where, words - _WORDS)


def test_the_dashboard_is_complete() -> None:
    """Each panel has a title and a description; none overlaps another; ids differ."""
    panels = _dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & covered, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= covered
        assert panel["type"] == "row" or len(panel["description"]) > 10, panel["title"]


def test_each_alert_is_explained() -> None:
    """Summary, description, severity, and a section of operations.md that exists."""
    sections = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(
            r"^##+ (.*)$", (_ROOT / "docs" / "operations.md").read_text(), re.MULTILINE
        )
    }
    for rule in _rules():
        about = rule["annotations"]
        assert about["summary"], rule["alert"]
        assert about["description"].endswith("."), rule["alert"]
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        page, _, section = about["runbook"].partition("#")
        assert (page, section in sections) == ("docs/operations.md", True), about["runbook"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="apt-get install prometheus")
def test_promtool_accepts_the_rules() -> None:
    """Prometheus's own parser; the tests above do without it."""
    command = ["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(_ALERTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
