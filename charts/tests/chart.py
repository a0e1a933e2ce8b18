"""The chart, rendered: what the tests of this folder share."""

import functools
import json
import os
import pathlib
import subprocess
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).parent.parent.parent
CHART = ROOT / "charts" / "agent-orchestrator"
HELM = os.environ["HELM"]
# The oldest supported Kubernetes of the chart's kubeVersion and the newest whose schemas are at hand.
KUBERNETES = ("1.27", kubernetes_validate.latest_version())
# Pods are rendered for this one where nothing else is said; some fields depend on it.
NEWEST = KUBERNETES[-1]


def helm(command, values, *more):
    """Runs helm on the chart with these values."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return subprocess.run(
            [HELM, *command, str(CHART), "--values", file.name, *more], capture_output=True, text=True, check=False
        )


def render(values, version=NEWEST):
    """The objects that the chart makes of these values, as {(kind, name): object}."""
    return {key: json.loads(text) for key, text in _rendered(json.dumps(values), version).items()}


@functools.cache
def _rendered(values, version):
    done = helm(["template", "release"], json.loads(values), "--namespace", "agents", "--kube-version", version)
    if done.returncode:
        raise AssertionError(done.stderr)
    objects = [document for document in yaml.safe_load_all(done.stdout) if document]
    found = {(thing["kind"], thing["metadata"]["name"]): json.dumps(thing) for thing in objects}
    if len(found) != len(objects):
        raise AssertionError("two objects have one kind and name")
    return found


def of_kind(objects, kind):
    """The objects of this kind, by name."""
    return {name: thing for (its_kind, name), thing in objects.items() if its_kind == kind}


def only(objects, kind):
    """The one object of this kind."""
    (found,) = of_kind(objects, kind).values()
    return found


def pods(objects):
    """The templates of pods, by the name of what makes them."""
    return {
        name: thing["spec"]["template"]
        for (kind, name), thing in objects.items() if kind in ("StatefulSet", "Deployment", "Job")
    }


def environment(pod):
    """The environment of a pod's container, as {name: entry}."""
    (container,) = pod["spec"]["containers"]
    names = [entry["name"] for entry in container["env"]]
    if len(names) != len(set(names)):
        raise AssertionError(f"a variable is set twice: {sorted(names)}")
    return {entry["name"]: entry for entry in container["env"]}


def plain(pod):
    """The variables of a pod that have their value in plain sight."""
    return {name: entry["value"] for name, entry in environment(pod).items() if "value" in entry}
