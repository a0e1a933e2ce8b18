"""What the chart must hold in the full mode: processes that find each other and their servers, and stop in order."""

import base64
import json
import pathlib
import unittest

from chart import KUBERNETES, environment, helm, of_kind, only, plain, pods, render
from values import (
    ADDRESS, BACKENDS, BUILT_IN, ENCRYPTED, FULL, FULL_MATRIX, OPERATORS, SECRETS,
)

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


class Servers(unittest.TestCase):
    def test_api_and_workers_are_told_the_same_of_servers_and_tokens(self):
        alike = ("POSTGRES_", "DATABASE_", "RABBITMQ_", "REDIS_", "JWT_", "WEBHOOK_", "CALLBACK_", "MAX_CONCURRENT")
        for name, values in FULL_MATRIX.items():
            found = pods(render(values))
            api, worker = (
                {key: entry for key, entry in environment(found[its]).items() if key.startswith(alike)}
                for its in (API, WORKER)
            )
            with self.subTest(name):
                self.assertEqual(api, worker)
                for needed in ("RABBITMQ_HOST", "REDIS_HOST"):
                    self.assertIn(needed, api)

    def test_workers_find_the_brain_factory(self):
        objects = render(BUILT_IN)
        told = plain(pods(objects)[WORKER])
        service = of_kind(objects, "Service")[told["BRAIN_FACTORY_HOST"]]
        self.assertEqual(str(service["spec"]["ports"][0]["port"]), told["BRAIN_FACTORY_PORT"])
        own = environment(pods(objects)[FACTORY])
        self.assertEqual(own["BRAIN_FACTORY_HOST"]["valueFrom"], {"fieldRef": {"fieldPath": "status.podIP"}})
        self.assertEqual(own["LLM_MODEL"]["value"], "small")
        self.assertNotIn("LLM_MODEL", environment(pods(objects)[WORKER]))
        self.assertEqual(plain(pods(render(FULL))[WORKER])["BRAIN_FACTORY_HOST"], "brain-factory")

    def test_large_numbers_are_written_out(self):
        api = plain(pods(render(FULL))[API])
        self.assertEqual(api["MAX_QUEUE_DEPTH_PER_AGENT"], "1000000000")
        self.assertEqual(api["MAX_BODY_BYTES"], "67108864")
        self.assertEqual(api["RATE_LIMIT_PER_SECOND"], "1000000")

    def test_a_default_port_is_left_to_the_process(self):
        self.assertNotIn("RABBITMQ_PORT", plain(pods(render(ENCRYPTED))[API]))
        self.assertEqual(plain(pods(render(FULL))[API])["RABBITMQ_PORT"], "5679")

    def test_authorities_are_where_the_processes_look(self):
        found = pods(render(ENCRYPTED))
        wanted = {"POSTGRES": "pg-authority", "RABBITMQ": "mq-authority", "REDIS": "rd-authority"}
        for its_name, servers in ((API, wanted), (WORKER, wanted), (MIGRATE, {"POSTGRES": "pg-authority"})):
            pod = found[its_name]["spec"]
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
            for server, secret in servers.items():
                with self.subTest(pod=its_name, server=server):
                    file = pathlib.PurePath(plain(found[its_name])[f"{server}_CA_FILE"])
                    volume = volumes[mounts[str(file.parent)]]["secret"]
                    self.assertEqual(volume["secretName"], secret)
                    self.assertEqual(volume["items"], [{"key": "ca.crt", "path": file.name}])
            self.assertEqual(len(volumes), len(servers) + 1)

    def test_logins_come_from_the_secrets_of_operators(self):
        for name, pod in pods(render(OPERATORS)).items():
            its = environment(pod)
            expected = {"POSTGRES_USER": ("ledger-app", "username"), "POSTGRES_PASSWORD": ("ledger-app", "password")}
            if name != MIGRATE:
                expected |= {
                    "RABBITMQ_USER": ("broker-default-user", "username"),
                    "RABBITMQ_PASSWORD": ("broker-default-user", "password"),
                    "REDIS_PASSWORD": ("cache", "redis-password"),
                }
            for variable, where in expected.items():
                with self.subTest(pod=name, variable=variable):
                    reference = its[variable]["valueFrom"]["secretKeyRef"]
                    self.assertEqual((reference["name"], reference["key"]), where)
                    self.assertIs(reference["optional"], False)

    def test_an_address_of_the_ledger_is_read_from_the_secret(self):
        for pod in pods(render(ADDRESS)).values():
            reference = environment(pod)["DATABASE_URL"]["valueFrom"]["secretKeyRef"]
            self.assertEqual((reference["name"], reference["optional"]), ("orchestrator-secrets", False))
            self.assertNotIn("POSTGRES_HOST", environment(pod))


class Secrets(unittest.TestCase):
    def test_no_secret_is_in_plain_sight(self):
        for (kind, name), thing in render(ENCRYPTED).items():
            text = json.dumps(thing)
            for secret in SECRETS.values():
                with self.subTest(kind=kind, name=name):
                    self.assertNotIn(secret, text)
                    if kind != "Secret":
                        self.assertNotIn(base64.b64encode(secret.encode()).decode(), text)

    def test_variables_with_secrets_only_come_from_secrets(self):
        for name, values in FULL_MATRIX.items():
            for its_name, pod in pods(render(values)).items():
                for variable, entry in environment(pod).items():
                    if any(word in variable for word in ("PASSWORD", "SECRET", "API_KEY", "DATABASE_URL")):
                        with self.subTest(values=name, pod=its_name, variable=variable):
                            self.assertIn("secretKeyRef", entry["valueFrom"])

    def test_between_processes_a_secret_is_needed_whatever_callers_have(self):
        for name in (API, WORKER):
            reference = environment(pods(render(FULL))[name])["JWT_SECRET"]["valueFrom"]["secretKeyRef"]
            self.assertIs(reference["optional"], False)

    def test_only_who_calls_a_model_has_its_key(self):
        values = {**BUILT_IN, "secret": {"existingName": "s"}}
        holders = {name for name, pod in pods(render(values)).items() if "LLM_API_KEY" in environment(pod)}
        self.assertEqual(holders, {FACTORY})

    def test_a_changed_secret_restarts_the_pods(self):
        changed = {**ENCRYPTED, "secret": {**SECRETS, "rabbitmqPassword": "mq-password-2"}}
        before, after = (pods(render(values)) for values in (ENCRYPTED, changed))
        for name in (API, WORKER):
            self.assertNotEqual(before[name]["metadata"]["annotations"], after[name]["metadata"]["annotations"])


class Network(unittest.TestCase):
    def test_only_known_peers_come_in(self):
        policies = of_kind(render(FULL), "NetworkPolicy")
        self.assertEqual(set(policies), {API, WORKER})
        callers = {name: policy["spec"]["ingress"][0]["from"] for name, policy in policies.items()}
        self.assertEqual(callers[API], FULL["networkPolicy"]["apiFrom"])
        self.assertEqual(callers[WORKER], FULL["networkPolicy"]["metricsFrom"])
        policies = of_kind(render({**BUILT_IN, "networkPolicy": {"enabled": True}}), "NetworkPolicy")
        (peer,) = policies[FACTORY]["spec"]["ingress"][0]["from"]
        self.assertEqual(peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "worker")
        self.assertNotIn("from", policies[API]["spec"]["ingress"][0])

    def test_servers_are_reached_on_their_ports_and_the_outside_where_it_is_named(self):
        for name, policy in of_kind(render(FULL), "NetworkPolicy").items():
            egress = policy["spec"]["egress"]
            ports = {port["port"] for rule in egress for port in rule.get("ports", [])}
            self.assertEqual(ports, {53, 5432, 5679, 6379}, name)
            self.assertNotIn({}, egress)
            self.assertIn({"to": FULL["networkPolicy"]["outside"]}, egress)
        for policy in of_kind(render(ENCRYPTED), "NetworkPolicy").values():
            ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
            self.assertIn(5671, ports)

    def test_callers_reach_the_api_and_monitors_both(self):
        objects = render(FULL)
        service = only(objects, "Service")
        self.assertEqual(service["metadata"]["name"], NAME)
        self.assertEqual(service["spec"]["selector"]["app.kubernetes.io/component"], "api")
        (rule,) = only(objects, "Ingress")["spec"]["rules"]
        self.assertEqual(rule["http"]["paths"][0]["backend"]["service"]["name"], NAME)
        wanted = only(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
        self.assertLessEqual(wanted, service["metadata"]["labels"].items())
        (endpoint,) = only(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
        self.assertIn(endpoint["port"], {port["name"] for port in container(pods(objects)[WORKER])["ports"]})


class Refusal(unittest.TestCase):
    def test_bad_values_are_refused_by_name(self):
        without = lambda key: {**BACKENDS, key: {}}  # noqa: E731
        for values, named in [
            ({"mode": "half"}, "mode"),
            (without("postgres"), "postgres"),
            (without("rabbitmq"), "rabbitmq"),
            (without("redis"), "redis"),
            (without("brainFactory"), "brainFactory"),
            ({**BACKENDS, "requireAuth": True}, "secret"),
            ({**BACKENDS, "requireAuth": True, "jwt": {"algorithm": "RS256", "jwksUrl": "https://i/k"}}, "secret"),
            ({**BACKENDS, "brainFactory": {"host": "b", "deploy": True}}, "brainFactory"),
            ({"brainFactory": {"deploy": True}}, "mode"),
            ({**BACKENDS, "postgres": {"urlFromSecret": True}}, "secret"),
            ({**BACKENDS, "secret": {"databaseUrl": "postgres://u:p@h/d"}}, "urlFromSecret"),
            ({**BACKENDS, "redis": {"host": "r", "tls": {"caSecretName": "a"}}}, "enabled"),
            ({**BACKENDS, "secret": {"existingName": "s", "redisPassword": "p"}}, "redisPassword"),
            ({**BACKENDS, "rabbitmq": {"host": "r", "queueType": "lazy"}}, "queueType"),
            ({**BACKENDS, "worker": {"replicas": 0}}, "replicas"),
            ({**BACKENDS, "worker": {"autoscaling": {"kind": "keda"}}}, "secret"),
            ({**BACKENDS, "worker": {"autoscaling": {"kind": "keda", "keda": {"trigger": "prometheus"}}}},
             "prometheusAddress"),
            ({**BACKENDS, "worker": {"autoscaling": {"kind": "hpa", "minReplicas": 0}}}, "minReplicas"),
            ({"worker": {"autoscaling": {"kind": "hpa"}}}, "mode"),
            ({**BACKENDS, "llm": {"baseUrl": "http://m/v1", "model": "m", "inputCost": "1"}}, "outputCost"),
            ({**BACKENDS, "tracing": {"samplerArg": "2"}}, "samplerArg"),
            ({**BACKENDS, "extraEnv": [{"name": "RABBITMQ_HOST", "value": "other"}]}, "extraEnv"),
        ]:
            with self.subTest(values):
                done = helm(["template", "release"], values)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("schema", done.stderr)
                self.assertIn(named, done.stderr)

    def test_bounds_that_contradict_each_other_are_refused(self):
        for scaling, named in [
            ({"kind": "hpa", "minReplicas": 5, "maxReplicas": 4}, "maxReplicas"),
            ({"kind": "keda", "minReplicas": 5, "maxReplicas": 4}, "maxReplicas"),
            ({"kind": "hpa", "tasksPerWorker": 1001}, "tasksPerWorker"),
        ]:
            with self.subTest(scaling):
                values = {**OPERATORS, "worker": {"autoscaling": scaling}}
                done = helm(["template", "release"], values)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(named, done.stderr)


if __name__ == "__main__":
    unittest.main()
