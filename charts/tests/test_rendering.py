"""Every form of the chart: lint, the schemas of Kubernetes and of others' objects, and that values say what they are."""

import json
import re
import unittest

import jsonschema
import kubernetes_validate
import yaml

from chart import CHART, KUBERNETES, ROOT, environment, helm, pods, render
from values import MATRIX

# Kinds that are not Kubernetes' own: what this chart uses of them.
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "charts" / "tests" / "schemas").glob("*.json")}


class Rendering(unittest.TestCase):
    def test_lint_finds_nothing_to_complain_about(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                done = helm(["lint", "--strict"], values)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_object_is_valid_for_kubernetes(self):
        seen = set()
        for name, values in MATRIX.items():
            for version in KUBERNETES:
                for (kind, its_name), thing in render(values, version).items():
                    text = json.dumps(thing)
                    if (version, text) in seen:
                        continue
                    seen.add((version, text))
                    with self.subTest(values=name, kind=kind, name=its_name, version=version):
                        if kind in SCHEMAS:
                            jsonschema.validate(thing, SCHEMAS[kind])
                        else:
                            kubernetes_validate.validate(thing, version, strict=True)

    def test_every_object_names_its_namespace_and_its_release(self):
        for name, values in MATRIX.items():
            for key, thing in render(values).items():
                with self.subTest(values=name, object=key):
                    self.assertEqual(thing["metadata"]["namespace"], "agents")
                    self.assertEqual(thing["metadata"]["labels"]["app.kubernetes.io/instance"], "release")
                    self.assertLessEqual(len(thing["metadata"]["name"]), 63)

    def test_a_long_release_name_still_makes_names_that_kubernetes_takes(self):
        done = helm(["template", "r" * 53], MATRIX["built in"], "--namespace", "agents")
        self.assertEqual(done.returncode, 0, done.stderr)
        names = [thing["metadata"]["name"] for thing in yaml.safe_load_all(done.stdout) if thing]
        self.assertLessEqual(max(map(len, names)), 63)

    def test_selectors_find_pods_of_one_kind_only(self):
        for name, values in MATRIX.items():
            objects = render(values)
            templates = pods(objects)
            for (kind, its_name), thing in objects.items():
                selector = _selector(kind, thing)
                if selector:
                    with self.subTest(values=name, kind=kind, name=its_name):
                        found = [
                            pod for pod, template in templates.items()
                            if selector.items() <= template["metadata"]["labels"].items()
                        ]
                        self.assertEqual(len(found), 1, found)


def _selector(kind, thing):
    """The labels of the pods that an object is about, if it is about some."""
    spec = thing.get("spec", {})
    if kind == "Service":
        return spec["selector"]
    if kind in ("Deployment", "StatefulSet", "PodDisruptionBudget", "PodMonitor"):
        return spec["selector"]["matchLabels"]
    if kind == "NetworkPolicy":
        return spec["podSelector"]["matchLabels"]
    return None


class Values(unittest.TestCase):
    def test_every_value_is_described_and_known_to_the_schema(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        text = (CHART / "values.yaml").read_text()
        self._same_names(schema, yaml.safe_load(text), "values")
        lines = text.splitlines()
        handed_on = None  # How far objects that Kubernetes gets as they are indented.
        for number, line in enumerate(lines):
            key = re.match(r"( *)(\w+): *(\S.*)?$", line)
            if not key:
                continue
            depth = len(key[1])
            if handed_on is not None and depth > handed_on:
                continue
            handed_on = depth if key[2] in ("resources", "podSecurityContext", "labels") else None
            if key[3] or handed_on is not None:
                with self.subTest(line):
                    self.assertTrue(lines[number - 1].lstrip().startswith("#"), "has no comment")

    def _same_names(self, schema, values, where):
        known = set(schema["properties"]) - {"global"}
        self.assertEqual(known, set(values), where)
        for name, value in values.items():
            if "properties" in schema["properties"][name]:
                self._same_names(schema["properties"][name], value, f"{where}.{name}")

    def test_what_the_chart_sets_is_refused_in_extra_env_and_nothing_else(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        refused = schema["properties"]["extraEnv"]["items"]["properties"]["name"]["not"]["enum"]
        own = {entry["name"] for values in MATRIX.values() for entry in values.get("extraEnv", [])}
        rendered = set()
        for values in MATRIX.values():
            for pod in pods(render(values)).values():
                rendered |= set(environment(pod))
        self.assertEqual(set(refused), rendered - own)

    def test_every_variable_of_the_programs_can_be_set(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        by_value = set(schema["properties"]["extraEnv"]["items"]["properties"]["name"]["not"]["enum"])
        read = variables_of_the_programs()
        self.assertGreater(len(read), 50)
        self.assertEqual(by_value - read, set(), "no program reads these")
        # What has no value of its own has to come through: of all that, nothing is refused.
        rest = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}} for name in sorted(read - by_value)
        ]
        done = helm(["template", "release"], {"extraEnv": rest})
        self.assertEqual(done.returncode, 0, done.stderr)


def variables_of_the_programs():
    """Names of the environment variables that the settings are read from."""
    found = set()
    for folder in ("config", "telemetry"):
        for path in (ROOT / "common" / "src" / folder).rglob("*.rs"):
            if "test" not in path.name:
                # Up to its tests: these name others.
                source = path.read_text().split("#[cfg(test)]")[0]
                found |= set(re.findall(r'"([A-Z][A-Z0-9]*_[A-Z0-9_]+)"', source))
    return found


if __name__ == "__main__":
    unittest.main()
