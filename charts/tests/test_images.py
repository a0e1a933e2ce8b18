"""The image and the example of its use: what linters and schemas say, and that both know the programs as they are."""

import pathlib
import re
import subprocess
import sys
import tomllib
import unittest

import yaml

from chart import ROOT
from test_rendering import variables_of_the_programs

SCRIPTS = pathlib.Path(sys.executable).parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
WORKSPACE = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]


def tool(name, *arguments):
    return subprocess.run([SCRIPTS / name, *arguments], capture_output=True, text=True, check=False, cwd=ROOT)


def own_services():
    """The services of our image, by name."""
    return {name: service for name, service in COMPOSE["services"].items() if "agent-orchestrator:" in service["image"]}


class Image(unittest.TestCase):
    def test_the_linter_finds_nothing(self):
        done = tool("hadolint", "Dockerfile")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_part_of_the_workspace_reaches_the_builder(self):
        copied = set(re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.M))
        self.assertEqual(copied, set(WORKSPACE["members"]))
        sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M))
        self.assertEqual(sent, copied | {"Cargo.toml", "Cargo.lock"})

    def test_it_is_built_with_the_rust_of_the_workspace(self):
        (version,) = re.findall(r"^FROM rust:([\d.]+)-", DOCKERFILE, re.M)
        self.assertEqual(version, WORKSPACE["package"]["rust-version"])

    def test_every_program_is_in_it(self):
        built = set(re.findall(r"--package ([\w-]+)", DOCKERFILE))
        programs = set()
        for member in WORKSPACE["members"]:
            manifest = tomllib.loads((ROOT / member / "Cargo.toml").read_text())
            if manifest["package"]["name"] in built:
                programs |= {each["name"] for each in manifest.get("bin", [])} or {manifest["package"]["name"]}
        self.assertEqual(set(re.findall(r"target/release/([\w-]+)", DOCKERFILE)), programs)
        self.assertEqual(len(programs), 4)

    def test_it_runs_as_nobody_in_particular_and_asks_itself_how_it_is(self):
        self.assertRegex(DOCKERFILE, r"(?m)^USER 65532:65532$")
        self.assertIn('CMD ["agent-orchestrator", "health"]', DOCKERFILE)
        self.assertRegex(DOCKERFILE, r'(?m)^CMD \["agent-orchestrator"\]$')


class Compose(unittest.TestCase):
    def test_it_keeps_the_schema_of_compose(self):
        done = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_it_runs_every_process_of_the_full_strength(self):
        commands = {name: service["command"][0] for name, service in own_services().items()}
        self.assertEqual(commands, {
            "migrate": "orchestrator-migrate", "api": "orchestrator-api", "worker": "orchestrator-worker",
            "brain-factory": "agent-orchestrator",
        })
        self.assertEqual(COMPOSE["services"]["worker"]["deploy"]["replicas"], 2)
        chart = yaml.safe_load((ROOT / "charts" / "agent-orchestrator" / "Chart.yaml").read_text())
        self.assertEqual({service["image"] for service in own_services().values()},
                         {f"agent-orchestrator:{chart['appVersion']}"})

    def test_its_variables_are_those_that_the_programs_read(self):
        known = variables_of_the_programs()
        for name, service in own_services().items():
            self.assertLessEqual(set(service["environment"]), known, name)

    def test_hosts_are_its_own_services(self):
        for name, service in own_services().items():
            for variable, value in service["environment"].items():
                if variable.endswith("_HOST"):
                    self.assertIn(value, COMPOSE["services"], f"{name}: {variable}")
            for other in service.get("depends_on", {}):
                self.assertIn(other, COMPOSE["services"])

    def test_our_containers_have_no_privileges_and_others_cannot_reach_them(self):
        for name, service in own_services().items():
            # One that is not built would be looked for in a registry, before the others are built.
            self.assertEqual(service["build"], ".", name)
            self.assertIs(service["read_only"], True, name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
        for name, service in COMPOSE["services"].items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), name)

    def test_containers_get_longer_to_stop_than_their_processes_take(self):
        for name in ("api", "worker"):
            service = COMPOSE["services"][name]
            grace = int(service["environment"].get("SHUTDOWN_GRACE_SECONDS", "30"))
            self.assertGreater(int(service["stop_grace_period"].rstrip("s")), grace, name)


if __name__ == "__main__":
    unittest.main()
