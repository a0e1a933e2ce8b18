"""Alerts and dashboards: rules that hold in tests, metrics that exist, and a page of the runbook for each alert."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

from chart import CHART, ROOT, of_kind, only, render
from values import BACKENDS, FULL

RULES = CHART / "rules" / "alerts.yaml"
CASES = ROOT / "charts" / "tests" / "alerts_test.yaml"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
PROMTOOL = os.environ["PROMTOOL"]
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
# Of every process, by the client library.
OF_PROCESSES = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}


def own_metrics():
    """The names of our metrics with their labels, as they are registered."""
    names = dict(re.findall(r'pub const (\w+): &str = "(\w+)";',
                            (ROOT / "common" / "src" / "metrics" / "names.rs").read_text()))
    source = (ROOT / "common" / "src" / "metrics" / "collectors.rs").read_text()
    found = {}
    for constant, rest in re.findall(r"names::(\w+),(.*?)\)\?", source, re.S):
        labels = re.search(r"&\[([^\]]*)\]", rest)
        found[names[constant]] = set(re.findall(r'"(\w+)"', labels[1])) if labels else set()
    assert set(found) == set(names.values()), set(names.values()) ^ set(found)
    return found


def metrics_in(expression):
    """The metrics that an expression reads, each with the labels that it selects by."""
    for name, selected in re.findall(r"\b(agent_orchestrator_\w+|process_\w+)(?:\{([^}]*)\})?", expression):
        yield re.sub(r"_(bucket|sum|count)$", "", name), set(re.findall(r"(\w+)\s*=~?", selected or ""))


def expressions():
    """Every expression of alerts and dashboards, by where it is."""
    for name, rule in ALERTS.items():
        yield name, rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.name}: {panel['title']}", target["expr"]


def promtool(folder, *arguments):
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, cwd=folder)


class Metrics(unittest.TestCase):
    def test_every_metric_that_is_read_exists_with_its_labels(self):
        known, read = own_metrics(), set()
        for where, expression in expressions():
            for name, labels in metrics_in(expression):
                with self.subTest(where, metric=name):
                    self.assertIn(name, known.keys() | OF_PROCESSES)
                    self.assertLessEqual(labels - {"namespace", "pod", "instance"}, known.get(name, set()))
                read.add(name)
        self.assertGreater(len(read), 20)


@unittest.skipUnless(PROMTOOL, "promtool is not to be had here")
class Prometheus(unittest.TestCase):
    def test_rules_are_well_formed_and_fire_when_they_should(self):
        with tempfile.TemporaryDirectory() as folder:
            for path in (RULES, CASES):
                shutil.copy(path, folder)
            for arguments in (("check", "rules", RULES.name), ("test", "rules", CASES.name)):
                done = promtool(folder, *arguments)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_expressions_of_dashboards_are_well_formed(self):
        rules = [
            {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m").replace("$namespace", ".*")}
            for number, (where, expression) in enumerate(expressions()) if ".json" in where
        ]
        self.assertGreater(len(rules), 30)
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "panels.yaml")
            file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
            done = promtool(folder, "check", "rules", file.name)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_example_of_scraping_is_a_configuration(self):
        done = promtool(ROOT / "docs" / "examples", "check", "config", "prometheus.yml")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Alerts(unittest.TestCase):
    def test_each_is_tested_to_fire_and_not_to(self):
        outcomes = {name: set() for name in ALERTS}
        for case in yaml.safe_load(CASES.read_text())["tests"]:
            for look in case["alert_rule_test"]:
                outcomes[look["alertname"]].add(bool(look["exp_alerts"]))
        self.assertEqual({name: seen for name, seen in outcomes.items() if seen != {True, False}}, {})

    def test_the_runbook_has_a_section_on_each_and_on_no_other(self):
        page = (ROOT / "docs" / "operations.md").read_text()
        self.assertEqual(sorted(re.findall(r"^### (AgentOrchestrator\w+)$", page, re.M)), sorted(ALERTS))

    def test_each_says_how_bad_it_is_and_what_it_is(self):
        for name, rule in ALERTS.items():
            with self.subTest(name):
                self.assertIn(rule["labels"]["severity"], ("critical", "warning"))
                self.assertEqual(set(rule["annotations"]), {"summary", "description"})


class Shipped(unittest.TestCase):
    def test_the_chart_ships_the_rules_as_they_are(self):
        shipped = only(render(FULL), "PrometheusRule")
        self.assertEqual(shipped["spec"], yaml.safe_load(RULES.read_text()))
        self.assertEqual(shipped["metadata"]["labels"]["release"], "prometheus")

    def test_the_chart_ships_the_dashboards_as_they_are(self):
        shipped = only(render(FULL), "ConfigMap")
        self.assertEqual(shipped["data"], {path.name: path.read_text() for path in DASHBOARDS})
        self.assertEqual(shipped["metadata"]["labels"]["folder"], "agents")

    def test_neither_is_there_unless_asked_for(self):
        objects = render(BACKENDS)
        self.assertEqual((of_kind(objects, "PrometheusRule"), of_kind(objects, "ConfigMap")), ({}, {}))


if __name__ == "__main__":
    unittest.main()
