"""What the chart must hold in the full mode: processes that find each other and their servers, and stop in order."""

import base64
import json
import unittest

from chart import KUBERNETES, environment, of_kind, only, plain, pods, render
from values import ADDRESS, BACKENDS, BUILT_IN, ENCRYPTED, FULL, FULL_MATRIX, OPERATORS

NAME = "release-agent-orchestrator"
API, WORKER, FACTORY, MIGRATE = (f"{NAME}-{part}" for part in ("api", "worker", "brain-factory", "migrate"))


def container(pod):
    (found,) = pod["spec"]["containers"]
    return found


class Processes(unittest.TestCase):
    def test_each_process_is_a_program_of_its_own(self):
        commands = {name: container(pod)["command"] for name, pod in pods(render(BACKENDS)).items()}
        self.assertEqual(commands, {
            API: ["orchestrator-api"], WORKER: ["orchestrator-worker"], MIGRATE: ["orchestrator-migrate", "up"]})
        commands = {name: container(pod)["command"] for name, pod in pods(render(BUILT_IN)).items()}
        self.assertEqual(commands, {
            API: ["orchestrator-api"], WORKER: ["orchestrator-worker"],
            FACTORY: ["agent-orchestrator", "brain-factory"]})

    def test_nothing_of_the_embedded_mode_is_left(self):
        kinds = {kind for kind, _ in render(BACKENDS)}
        self.assertNotIn("StatefulSet", kinds)
        self.assertNotIn("ORCHESTRATOR_DATA_DIR", environment(pods(render(BACKENDS))[API]))

    def test_probes_ask_the_health_endpoints(self):
        found = pods(render(BUILT_IN))
        for name, paths in {
            API: {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"},
            WORKER: {"livenessProbe": "/health/live", "readinessProbe": "/health/ready"},
            FACTORY: {"livenessProbe": "/health", "readinessProbe": "/health"},
        }.items():
            its = container(found[name])
            ports = {port["name"] for port in its["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                with self.subTest(name=name, probe=probe):
                    asked = its.get(probe, {}).get("httpGet")
                    self.assertEqual(asked and asked["path"], paths.get(probe))
                    self.assertTrue(asked is None or asked["port"] in ports)

    def test_ports_are_those_that_the_processes_are_told(self):
        found = pods(render(BUILT_IN))
        for name, variable in {
            API: "AGENT_ORCHESTRATOR_PORT", WORKER: "WORKER_HEALTH_PORT", FACTORY: "BRAIN_FACTORY_PORT",
        }.items():
            (port,) = container(found[name])["ports"]
            self.assertEqual(str(port["containerPort"]), plain(found[name])[variable])

    def test_no_container_has_privileges(self):
        for name, values in FULL_MATRIX.items():
            for its_name, pod in pods(render(values)).items():
                with self.subTest(values=name, pod=its_name):
                    own = container(pod)["securityContext"]
                    self.assertTrue(pod["spec"]["securityContext"]["runAsNonRoot"] and own["runAsNonRoot"])
                    self.assertNotEqual(pod["spec"]["securityContext"]["runAsUser"], 0)
                    self.assertTrue(own["readOnlyRootFilesystem"])
                    self.assertFalse(own["allowPrivilegeEscalation"])
                    self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                    self.assertFalse(pod["spec"]["automountServiceAccountToken"])
                    self.assertIs(pod["spec"]["enableServiceLinks"], False)
                    self.assertIn("memory", container(pod)["resources"]["limits"])

    def test_all_pods_are_of_one_image(self):
        values = {**BUILT_IN, "image": {"repository": "registry.example/o", "tag": "9"}, "migration": {"enabled": True}}
        self.assertEqual({container(pod)["image"] for pod in pods(render(values)).values()}, {"registry.example/o:9"})


class Stopping(unittest.TestCase):
    def test_kubernetes_waits_longer_than_the_processes_do(self):
        for name, values in FULL_MATRIX.items():
            found = pods(render(values))
            for its_name in (API, WORKER):
                with self.subTest(values=name, pod=its_name):
                    grace = int(plain(found[its_name])["SHUTDOWN_GRACE_SECONDS"])
                    hook = container(found[its_name]).get("lifecycle", {})
                    slept = hook.get("preStop", {}).get("sleep", {}).get("seconds", 0)
                    self.assertGreater(found[its_name]["spec"]["terminationGracePeriodSeconds"], grace + slept)

    def test_a_worker_gets_the_time_that_its_tasks_take(self):
        pod = pods(render(FULL))[WORKER]
        self.assertEqual(plain(pod)["SHUTDOWN_GRACE_SECONDS"], "900")
        self.assertEqual(pod["spec"]["terminationGracePeriodSeconds"], 930)
        # The longest that a task takes if it does not say otherwise is 300 s.
        self.assertGreater(int(plain(pods(render(BACKENDS))[WORKER])["SHUTDOWN_GRACE_SECONDS"]), 300)

    def test_callers_turn_elsewhere_before_an_api_stops_where_kubernetes_can(self):
        old, new = (container(pods(render(BACKENDS, version))[API]) for version in KUBERNETES)
        self.assertNotIn("lifecycle", old)
        self.assertEqual(new["lifecycle"]["preStop"], {"sleep": {"seconds": 5}})

    def test_upgrades_and_drained_nodes_leave_enough(self):
        objects = render(BACKENDS)
        for name, deployment in of_kind(objects, "Deployment").items():
            self.assertEqual(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0, name)
        budgets = of_kind(objects, "PodDisruptionBudget")
        self.assertEqual({name: budget["spec"]["maxUnavailable"] for name, budget in budgets.items()},
                         {API: 1, WORKER: 1})
        for name in (API, WORKER):
            spread = pods(objects)[name]["spec"]["topologySpreadConstraints"]
            self.assertEqual({rule["topologyKey"] for rule in spread},
                             {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})
            for rule in spread:
                labels = pods(objects)[name]["metadata"]["labels"].items()
                self.assertLessEqual(rule["labelSelector"]["matchLabels"].items(), labels)
        self.assertNotIn("topologySpreadConstraints", pods(render(BUILT_IN))[WORKER]["spec"])


class Migration(unittest.TestCase):
    def test_the_schema_is_brought_up_to_date_before_anything_else(self):
        job = only(render(ENCRYPTED), "Job")
        self.assertEqual(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade")
        self.assertNotIn("Job", {kind for kind, _ in render(BUILT_IN)})

    def test_the_hook_needs_nothing_that_is_made_after_it(self):
        objects = render(ENCRYPTED)
        made_before = {
            (kind, name) for (kind, name), thing in objects.items()
            if "helm.sh/hook" in thing["metadata"].get("annotations", {})
        }
        made_later = {name for (kind, name) in objects if (kind, name) not in made_before and kind == "Secret"}
        job = objects["Job", MIGRATE]
        text = json.dumps(job)
        for name in made_later:
            self.assertNotIn(f'"{name}"', text)
        reference = environment(job["spec"]["template"])["POSTGRES_PASSWORD"]["valueFrom"]["secretKeyRef"]
        self.assertIn(("Secret", reference["name"]), made_before)
        secret = objects["Secret", reference["name"]]
        weights = [int(thing["metadata"]["annotations"]["helm.sh/hook-weight"]) for thing in (secret, job)]
        self.assertLess(*weights)
        self.assertEqual(secret["data"], {"POSTGRES_PASSWORD": base64.b64encode(b"pg-password-1").decode()})
        self.assertEqual(job["spec"]["template"]["spec"]["serviceAccountName"], "default")

    def test_it_knows_the_ledger_and_nothing_else(self):
        for values in (BACKENDS, ENCRYPTED, OPERATORS, FULL):
            names = set(environment(pods(render(values))[MIGRATE]))
            self.assertTrue(all(name.startswith(("POSTGRES_", "DATABASE_")) for name in names), names)
        names = set(environment(pods(render(ADDRESS))[MIGRATE]))
        self.assertEqual(names, {"DATABASE_URL", "DATABASE_MAX_CONNECTIONS"})


if __name__ == "__main__":
    unittest.main()
