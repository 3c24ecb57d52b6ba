"""Alert rules and dashboard name metrics and labels that exist; Prometheus itself tests the rules."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving.api.app import create_app
from serving.api.openapi_responses import all_errors
from serving.api.service import Service
from serving.config import Settings
from serving.server.drain import Drain
from tests.deploy.kubernetes.rendered import documents, find
from tests.repo.imports import ROOT
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.drift.measured_bundles import measured_release

DEPLOY = ROOT / "deploy"
RULES, CONFIGURATION = DEPLOY / "prometheus/alerts.yml", DEPLOY / "prometheus/prometheus.yml"
IN_KUBERNETES = DEPLOY / "prometheus/kubernetes.yml"
RULE_TESTS = ROOT / "tests/deploy/alerts.test.yml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/goldfish.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
TARGETS = [target for panel in PANELS for target in panel.get("targets", [])]
EXPRESSIONS = [*(alert["expr"] for alert in ALERTS), *(target["expr"] for target in TARGETS)]
# What Prometheus adds to each series, and the metric that it makes itself.
ADDED, MADE = {"job", "instance"}, {"up"}
# A metric, perhaps with conditions on its labels.
SELECTOR = re.compile(r"\b(goldfish_\w+|process_\w+|up)\b(?:\{([^}]*)\})?")
CONDITION = re.compile(r'(\w+)=~?"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")
TEMPLATE = re.compile(r"\$labels\.(\w+)|\{\{(\w+)\}\}")
# What a panel or rule may call besides.
FUNCTIONS = {"sum", "by", "rate", "increase", "histogram_quantile"}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric that a server with a measured bundle has after a hundred answers."""
    release = measured_release(tmp_path_factory.mktemp("monitored") / "bundle", {"top1": 0.97})
    client = create_app(Service.start(Settings(), [release], 1, Drain())).test_client()
    for number in range(102):
        client.post("/inference", data=one_colour_png(list(COLOURS.values())[number % 3]))
    client.post("/inference", data=b"no image")
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found[sample.name] |= sample.labels.keys()
    return dict(found)


def selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The metrics of an expression, each with the conditions on its labels."""
    for metric, conditions in SELECTOR.findall(expression):
        yield metric, dict(CONDITION.findall(conditions))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_metrics_and_labels_exist(exposed: dict[str, set[str]], expression: str) -> None:
    used = list(selectors(expression))
    assert used
    known = set(ADDED)
    for metric, conditions in used:
        assert metric in exposed or metric in MADE, metric
        labels = exposed.get(metric, set()) | ADDED
        assert conditions.keys() <= labels, metric
        known |= labels
    for labels in GROUPED.findall(expression):
        assert {label.strip() for label in labels.split(",")} <= known
    # Nothing else in it is a name: no metric is overlooked.
    rest = re.sub(r'"[^"]*"|\[[^]]*\]|\{[^}]*\}', "", GROUPED.sub("by", SELECTOR.sub("", expression)))
    assert set(re.findall(r"[a-z_]\w*", rest)) <= FUNCTIONS


def test_codes_exist() -> None:
    codes = {error.code for error in all_errors()}
    named = [
        conditions["code"].split("|")
        for expression in EXPRESSIONS
        for _, conditions in selectors(expression)
        if "code" in conditions
    ]
    assert named
    assert {code for group in named for code in group} <= codes


def test_texts_use_labels_that_are_there(exposed: dict[str, set[str]]) -> None:
    texts = [(alert["expr"], " ".join(alert["annotations"].values())) for alert in ALERTS]
    texts += [(target["expr"], target["legendFormat"]) for target in TARGETS]
    for expression, text in texts:
        labels = {label for pair in TEMPLATE.findall(text) for label in pair if label}
        grouped = [{label.strip() for label in group.split(",")} for group in GROUPED.findall(expression)]
        left = (
            grouped[0]
            if grouped
            else ADDED.union(*(exposed.get(name, set()) for name, _ in selectors(expression)))
        )
        assert labels <= left, text


def test_every_gauge_of_drift_is_shown_and_watched(exposed: dict[str, set[str]]) -> None:
    drift = {name for name in exposed if re.search("shift|unfamiliar|_accuracy", name)}
    assert len(drift) == 14
    for expressions in (ALERTS, TARGETS):
        assert {name for entry in expressions for name, _ in selectors(entry["expr"])} >= drift


def test_alerts_are_named_once_and_explained() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names)
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"].keys() == {"summary", "description"}


def test_panels_have_places_and_sources_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["description"].endswith(".")
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references) > 0


def test_variables_of_the_dashboard_exist(exposed: dict[str, set[str]]) -> None:
    variables = {entry["name"]: entry for entry in DASHBOARD["templating"]["list"]}
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert used == variables.keys()
    queried = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["instance"]["query"]["query"])
    assert queried
    assert queried[1] in exposed
    assert queried[2] in ADDED


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus's checker of rules."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is missing: `apt-get install --no-install-recommends prometheus`")
    return found


def check(promtool: str, *arguments: object) -> str:
    """Runs promtool, which must succeed; returns what it says."""
    command = [promtool, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_rules_and_the_configuration(promtool: str) -> None:
    assert f"{len(ALERTS)} rules found" in check(promtool, "check", "rules", RULES)
    check(promtool, "check", "config", CONFIGURATION)


def test_alerts_fire_when_they_should(promtool: str) -> None:
    check(promtool, "test", "rules", RULE_TESTS)


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    firing = {case["alertname"] for test in tests for case in test["alert_rule_test"] if "exp_alerts" in case}
    assert firing == {alert["alert"] for alert in ALERTS}


def test_prometheus_accepts_the_expressions_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [
        # Grafana puts a duration in the place of its variable.
        {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for number, target in enumerate(TARGETS)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    check(promtool, "check", "rules", file)


def test_prometheus_refuses_what_is_wrong(promtool: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text(RULES.read_text(encoding="utf-8").replace("goldfish_ready == 0", "goldfish_ready = 0"))
    with pytest.raises(AssertionError, match="unexpected"):
        check(promtool, "check", "rules", file)


def discover(promtool: str, folder: Path, pods: list[dict[str, str]]) -> list[dict[str, str]]:
    """The labels of the targets among pods by deploy/prometheus/kubernetes.yml.

    Debian's Prometheus is built without the discovery of Kubernetes, so the pods, with the labels that it
    would give them, are listed in the file.
    """
    configuration = yaml.safe_load(IN_KUBERNETES.read_text(encoding="utf-8"))
    (job,) = configuration["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["goldfish"]}}]
    job["static_configs"] = [
        {
            "targets": [f"{pod['ip']}:8080"],
            "labels": {f"__meta_kubernetes_pod_{name}": value for name, value in pod.items()},
        }
        for pod in pods
    ]
    configuration["rule_files"] = [str(RULES)]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    check(promtool, "check", "config", file)
    found = json.loads(check(promtool, "check", "service-discovery", "--timeout=1s", file, job["job_name"]))
    return [target["labels"] for target in found if target["labels"]]


def test_prometheus_scrapes_running_pods_where_their_annotations_say(promtool: str, tmp_path: Path) -> None:
    template = find(documents("plain"), "Deployment")["spec"]["template"]
    annotations = template["metadata"]["annotations"].items()
    pod = {
        "ip": "10.0.0.7",
        "name": "goldfish-6b7d-x2x",
        "phase": "Running",
        "container_name": template["spec"]["containers"][0]["name"],
        "label_app_kubernetes_io_name": template["metadata"]["labels"]["app.kubernetes.io/name"],
        **{"annotation_" + re.sub(r"[^a-z]", "_", name): value for name, value in annotations},
    }
    others = [
        pod | {"ip": "10.0.0.8", "phase": "Failed"},
        pod | {"ip": "10.0.0.9", "container_name": "queue-proxy"},
        pod | {"ip": "10.0.0.10", "label_app_kubernetes_io_name": "other"},
        pod | {"ip": "10.0.0.11", "annotation_prometheus_io_scrape": "false"},
    ]
    (target,) = discover(promtool, tmp_path, [pod, *others])
    assert (target["__address__"], target["__metrics_path__"]) == ("10.0.0.7:5001", "/metrics")
    # What rules and dashboard expect.
    assert (target["job"], target["instance"]) == ("goldfish", pod["name"])


def test_the_rules_expect_the_job_of_the_configuration() -> None:
    jobs = {job["job_name"] for job in yaml.safe_load(CONFIGURATION.read_text("utf-8"))["scrape_configs"]}
    used = {
        conditions["job"]
        for expression in EXPRESSIONS
        for _, conditions in selectors(expression)
        if "job" in conditions
    }
    assert used == jobs
