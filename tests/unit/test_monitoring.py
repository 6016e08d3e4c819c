"""The alert rules and the board ask for metrics that there are, by labels that these have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay_server.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"^\| `(relay_\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
KINDS = {
    name: (kind, set(re.findall(r"\w+", labels)))
    for name, kind, labels in ROW.findall(REFERENCE.read_text("utf-8"))
}
METRIC = re.compile(r"(relay_\w+?)(_bucket)?\b(?:\{(.*?)\})?(\[[^]]+\])?")
BY = re.compile(r"(?:by|on) \((.*?)\)")

RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"][
    0
]["rules"]
BOARD = json.loads((FOLDER / "grafana.json").read_text("utf-8"))
QUERIES = [rule["expr"] for rule in RULES]
QUERIES += [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
QUERIES += [
    one["query"]["query"].removeprefix("label_values(").replace(", channel)", "")
    for one in BOARD["templating"]["list"]
    if one["type"] == "query"
]


def metrics_of(query: str) -> list[tuple[str, str, str, str]]:
    return METRIC.findall(query)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_of_metrics_that_there_are(query: str) -> None:
    found = metrics_of(query)
    assert found or query == 'up{job="relay"} == 0'
    known = set[str]()
    for name, bucket, selector, span in found:
        kind, labels = KINDS[name]
        known |= labels | ({"le"} if bucket else set())
        assert set(re.findall(r"(\w+)=", selector)) <= labels
        assert bool(bucket) == (kind == "histogram")
        # Prometheus' own mistake to make: the rate of a gauge, or a counter's bare value.
        assert bool(span) == (kind != "gauge" or "delta(" in query)
    for labels_named in BY.findall(query):
        assert set(re.findall(r"\w+", labels_named)) <= known


def test_a_rule_says_what_happened_and_what_to_do() -> None:
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]
        known = {label for name, *_ in metrics_of(rule["expr"]) for label in KINDS[name][1]}
        for text in rule["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= known


def test_the_reference_has_what_the_server_counts() -> None:
    own = {name for name in KINDS if not name.startswith("relay_bot_")}
    assert {name for name in KINDS if f"# HELP {name} ".encode() in Metrics().text()} == own


def test_panels_do_not_overlap() -> None:
    taken = set[tuple[int, int]]()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
