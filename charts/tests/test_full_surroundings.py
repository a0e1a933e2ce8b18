"""What the processes of the full mode know of their servers, their secrets and their network, and which values are refused."""

import base64
import json
import pathlib
import unittest

from chart import environment, helm, of_kind, only, plain, pods, render
from test_full import API, FACTORY, MIGRATE, NAME, WORKER, container
from values import ADDRESS, BACKENDS, BUILT_IN, ENCRYPTED, FULL, FULL_MATRIX, OPERATORS, SECRETS


class Servers(unittest.TestCase):
    def test_api_and_workers_are_told_the_same_of_servers_and_tokens(self):
        alike = ("POSTGRES_", "DATABASE_", "RABBITMQ_", "REDIS_", "JWT_", "WEBHOOK_", "CALLBACK_ALLOWED", "MAX_CONCURRENT")
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
        self.assertNotIn("DEPLOYMENT_PIPELINE_HOST", told)
        self.assertEqual(plain(pods(render(FULL))[WORKER])["DEPLOYMENT_PIPELINE_TIMEOUT_SECONDS"], "9")
        self.assertEqual(plain(pods(render(FULL))[WORKER])["BRAIN_FACTORY_HOST"], "brain-factory")

    def test_large_numbers_are_written_out(self):
        api = plain(pods(render(FULL))[API])
        self.assertEqual(api["MAX_QUEUE_DEPTH_PER_AGENT"], "1000000000")
        self.assertEqual(api["MAX_BODY_BYTES"], "67108864")
        self.assertEqual(api["RATE_LIMIT_PER_SECOND"], "1000000")

    def test_workers_keep_the_ledger_tidy_and_forward_the_audit_log(self):
        worker = environment(pods(render(FULL))[WORKER])
        self.assertEqual((worker["TASK_RETENTION_DAYS"]["value"], worker["AUDIT_RETENTION_DAYS"]["value"]), ("0", "3650"))
        self.assertEqual(worker["AUDIT_SERVICE_URL"]["value"], "http://audit-service:8340")
        reference = worker["AUDIT_SERVICE_API_KEY"]["valueFrom"]["secretKeyRef"]
        self.assertEqual((reference["name"], reference["optional"]), ("orchestrator-secrets", False))
        self.assertNotIn("AUDIT_SERVICE_URL", environment(pods(render(BACKENDS))[WORKER]))

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
            ({"retention": {"taskDays": -1}}, "taskDays"),
            ({"auditServiceUrl": "http://audit-service:8340"}, "secret"),
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
