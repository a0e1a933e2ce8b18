"""What the chart must hold in the embedded mode: no secret outside a Secret, probes, and refusal of bad values."""

import base64
import json
import pathlib
import unittest

import yaml

from chart import CHART, environment, helm, only, render

PLAIN = {}
NO_VOLUME = {"persistence": {"enabled": False}, "serviceAccount": {"create": False}, "fullnameOverride": "orchestrator"}
OWN_SECRETS = {
    "requireAuth": True,
    "secret": {
        "jwtSecret": "jwt-" + "k" * 32, "llmApiKey": "llm-key-1", "webhookSecret": "whsec_" + "d2Vi" * 8,
        "postgresPassword": "pg-password-1",
    },
    "postgres": {"host": "postgres.data", "user": "agentic_user", "caSecretName": "postgres-authority"},
    "llm": {"baseUrl": "http://ollama:11434/v1", "model": "small"},
}
EVERYTHING = {
    "requireAuth": True,
    "maxConcurrentAgentSessions": 100000,
    "shutdownGraceSeconds": 120,
    "callbackAllowedHosts": "hooks.internal,10.0.0.0/8",
    "image": {"repository": "registry.example/agent-orchestrator", "tag": "1.2.3", "pullSecrets": ["registry"]},
    "secret": {"existingName": "orchestrator-secrets"},
    "brainFactory": {"host": "brain-factory"},
    "extraEnv": [
        {"name": "RUST_LOG", "value": "info"},
        {"name": "PROXY_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "password"}}},
    ],
    "persistence": {"size": "100Gi", "storageClass": "fast"},
    "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a/b": "c"}},
    "ingress": {
        "enabled": True, "className": "nginx", "host": "agents.example", "tlsSecretName": "agents-tls",
        "annotations": {"a/b": "c"},
    },
    "serviceAccount": {"annotations": {"a/b": "c"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"a/b": "c"},
    "podLabels": {"team": "agents"},
    "priorityClassName": "high",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}},
}
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"
KEY_PAIR = {
    "requireAuth": True,
    "jwt": {"algorithm": "EdDSA", "publicKey": PUBLIC_KEY, "issuer": "https://issuer.example", "audience": "agents"},
    "rateLimit": {"perSecond": 50, "burst": 200},
    "corsAllowedOrigins": ["https://console.example", "http://localhost:3000"],
}
MATRIX = {
    "plain": PLAIN, "no volume": NO_VOLUME, "own secrets": OWN_SECRETS, "everything": EVERYTHING, "key pair": KEY_PAIR,
}




def pod_of(values):
    return only(render(values), "StatefulSet")["spec"]["template"]["spec"]


def container_of(values):
    (container,) = pod_of(values)["containers"]
    return container


def environment_of(values):
    return environment({"spec": pod_of(values)})


class Services(unittest.TestCase):
    def test_services_find_the_pod_and_its_port(self):
        objects = render(EVERYTHING)
        template = only(objects, "StatefulSet")["spec"]["template"]
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        services = [thing for (kind, _), thing in objects.items() if kind == "Service"]
        self.assertEqual(len(services), 2)
        for service in services:
            self.assertLessEqual(service["spec"]["selector"].items(), template["metadata"]["labels"].items())
            self.assertIn(service["spec"]["ports"][0]["targetPort"], ports)
        names = {service["metadata"]["name"] for service in services}
        self.assertIn(only(objects, "StatefulSet")["spec"]["serviceName"], names)
        (rule,) = only(objects, "Ingress")["spec"]["rules"]
        self.assertIn(rule["http"]["paths"][0]["backend"]["service"]["name"], names)

    def test_one_service_is_scraped_not_both(self):
        objects = render(EVERYTHING)
        wanted = only(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
        services = [thing for (kind, _), thing in objects.items() if kind == "Service"]
        matching = [thing for thing in services if wanted <= thing["metadata"]["labels"].items()]
        self.assertEqual(len(matching), 1)


class Secrets(unittest.TestCase):
    def test_no_secret_is_in_plain_sight(self):
        for (kind, name), thing in render(OWN_SECRETS).items():
            text = json.dumps(thing)
            for secret in OWN_SECRETS["secret"].values():
                with self.subTest(kind=kind, name=name):
                    self.assertNotIn(secret, text)
                    if kind != "Secret":
                        self.assertNotIn(base64.b64encode(secret.encode()).decode(), text)

    def test_the_created_secret_is_what_the_container_reads(self):
        secret = only(render(OWN_SECRETS), "Secret")
        decoded = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        given = OWN_SECRETS["secret"]
        self.assertEqual(decoded, {
            "JWT_SECRET": given["jwtSecret"],
            "LLM_API_KEY": given["llmApiKey"],
            "WEBHOOK_SECRET": given["webhookSecret"],
            "POSTGRES_PASSWORD": given["postgresPassword"],
        })
        environment = environment_of(OWN_SECRETS)
        for key in decoded:
            reference = environment[key]["valueFrom"]["secretKeyRef"]
            self.assertEqual((reference["name"], reference["key"]), (secret["metadata"]["name"], key))

    def test_an_existing_secret_is_read_and_none_created(self):
        self.assertNotIn("Secret", {kind for kind, _ in render(EVERYTHING)})
        reference = environment_of(EVERYTHING)["JWT_SECRET"]["valueFrom"]["secretKeyRef"]
        self.assertEqual((reference["name"], reference["optional"]), ("orchestrator-secrets", False))

    def test_a_changed_secret_restarts_the_pod(self):
        def annotations(values):
            return only(render(values), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]
        changed = {**OWN_SECRETS, "secret": {**OWN_SECRETS["secret"], "llmApiKey": "llm-key-2"}}
        self.assertNotEqual(annotations(OWN_SECRETS), annotations(changed))

    def test_without_secrets_nothing_refers_to_one(self):
        self.assertNotIn("Secret", {kind for kind, _ in render(PLAIN)})
        self.assertNotIn("JWT_SECRET", environment_of(PLAIN))


class Callers(unittest.TestCase):
    def test_tokens_of_key_pairs_need_no_secret(self):
        self.assertNotIn("Secret", {kind for kind, _ in render(KEY_PAIR)})
        environment = environment_of(KEY_PAIR)
        expected = {
            "JWT_ALGORITHM": "EdDSA", "JWT_PUBLIC_KEY": PUBLIC_KEY, "JWT_ISSUER": "https://issuer.example",
            "JWT_AUDIENCE": "agents", "RATE_LIMIT_PER_SECOND": "50", "RATE_LIMIT_BURST": "200",
            "CORS_ALLOWED_ORIGINS": "https://console.example,http://localhost:3000",
        }
        self.assertEqual({name: environment[name]["value"] for name in expected}, expected)
        published = {"requireAuth": True, "jwt": {"algorithm": "RS256", "jwksUrl": "https://issuer.example/jwks"},
                     "secret": {"existingName": "mine"}}
        environment = environment_of(published)
        self.assertEqual(environment["JWT_JWKS_URL"]["value"], "https://issuer.example/jwks")
        self.assertIs(environment["JWT_SECRET"]["valueFrom"]["secretKeyRef"]["optional"], True)

    def test_what_is_not_said_is_left_to_the_process(self):
        for name in ("JWT_PUBLIC_KEY", "JWT_JWKS_URL", "JWT_ISSUER", "RATE_LIMIT_BURST", "CORS_ALLOWED_ORIGINS"):
            self.assertNotIn(name, environment_of(PLAIN))


class Pod(unittest.TestCase):
    def test_probes_ask_the_health_endpoints(self):
        container = container_of(PLAIN)
        paths = {probe: container[probe]["httpGet"]["path"]
                 for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        self.assertEqual(paths, {
            "startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"})

    def test_the_container_has_no_privileges(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                pod, own = pod_of(values), container_of(values)["securityContext"]
                self.assertTrue(pod["securityContext"]["runAsNonRoot"] and own["runAsNonRoot"])
                self.assertNotEqual(pod["securityContext"]["runAsUser"], 0)
                self.assertTrue(own["readOnlyRootFilesystem"])
                self.assertFalse(own["allowPrivilegeEscalation"])
                self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                self.assertFalse(pod["automountServiceAccountToken"])

    def test_kubernetes_waits_longer_than_the_process_does(self):
        for values in MATRIX.values():
            grace = int(environment_of(values)["SHUTDOWN_GRACE_SECONDS"]["value"])
            self.assertGreater(pod_of(values)["terminationGracePeriodSeconds"], grace)

    def test_services_nearby_do_not_leak_into_the_environment(self):
        self.assertIs(pod_of(PLAIN)["enableServiceLinks"], False)

    def test_the_data_folder_is_on_the_volume(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                folder = environment_of(values)["ORCHESTRATOR_DATA_DIR"]["value"]
                mounts = {mount["mountPath"]: mount["name"] for mount in container_of(values)["volumeMounts"]}
                claims = only(render(values), "StatefulSet")["spec"].get("volumeClaimTemplates", [])
                on_a_claim = mounts[folder] in {claim["metadata"]["name"] for claim in claims}
                self.assertEqual(on_a_claim, values is not NO_VOLUME)

    def test_the_authority_of_the_database_is_where_the_process_looks(self):
        environment, pod = environment_of(OWN_SECRETS), pod_of(OWN_SECRETS)
        file = pathlib.PurePath(environment["POSTGRES_CA_FILE"]["value"])
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == mounts[str(file.parent)])
        self.assertEqual(volume["secret"]["secretName"], "postgres-authority")
        self.assertEqual(volume["secret"]["items"], [{"key": "ca.crt", "path": file.name}])
        self.assertNotIn("POSTGRES_CA_FILE", environment_of(EVERYTHING))
        mode = environment_of({"postgres": {"host": "p", "sslMode": "require"}})["POSTGRES_SSLMODE"]["value"]
        self.assertEqual(mode, "require")

    def test_callbacks_go_nowhere_else_unless_hosts_are_named(self):
        self.assertNotIn("CALLBACK_ALLOWED_HOSTS", environment_of(PLAIN))
        allowed = environment_of(EVERYTHING)["CALLBACK_ALLOWED_HOSTS"]["value"]
        self.assertEqual(allowed, "hooks.internal,10.0.0.0/8")

    def test_the_image_has_a_tag_that_says_what_it_is(self):
        version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
        self.assertEqual(container_of(PLAIN)["image"], f"agent-orchestrator:{version}")
        self.assertEqual(container_of(EVERYTHING)["image"], "registry.example/agent-orchestrator:1.2.3")


class Refusal(unittest.TestCase):
    def test_bad_values_are_refused_by_name(self):
        long_enough = "k" * 32
        for values, named in [
            ({"requireAuth": True}, "secret"),
            ({"requireAuth": True, "secret": {"jwtSecret": "short"}}, "jwtSecret"),
            ({"requireAuth": True, "jwt": {"algorithm": "RS256"}}, "jwt"),
            ({"jwt": {"algorithm": "none"}}, "algorithm"),
            ({"jwt": {"jwksUrl": "https://issuer.example/jwks"}}, "jwksUrl"),
            ({"jwt": {"algorithm": "RS256", "publicKey": PUBLIC_KEY, "jwksUrl": "https://i.example/jwks"}}, "jwt"),
            ({"jwt": {"algorithm": "RS256", "publicKey": "-----BEGIN PRIVATE KEY-----"}}, "publicKey"),
            ({"rateLimit": {"burst": 5}}, "burst"),
            ({"corsAllowedOrigins": ["console.example"]}, "corsAllowedOrigins"),
            ({"extraEnv": [{"name": "JWT_JWKS_URL", "value": "https://issuer.example/jwks"}]}, "extraEnv"),
            ({"secret": {"existingName": "mine", "jwtSecret": long_enough}}, "jwtSecret"),
            ({"secret": {"webhookSecret": "short"}}, "webhookSecret"),
            ({"image": {"tag": "latest"}}, "tag"),
            ({"postgres": {"sslMode": "always"}}, "sslMode"),
            ({"postgres": {"sslMode": "require", "caSecretName": "authority"}}, "sslMode"),
            ({"llm": {"baseUrl": "http://ollama/v1"}}, "model"),
            ({"llm": {"baseUrl": "ollama"}}, "baseUrl"),
            ({"ingress": {"enabled": True}}, "host"),
            ({"service": {"port": 0}}, "port"),
            ({"workerConcurrency": "many"}, "workerConcurrency"),
            ({"replicas": 2}, "replicas"),
            ({"persistence": {"size": "big"}}, "size"),
            ({"extraEnv": [{"name": "WEBHOOK_SECRET", "value": "visible"}]}, "extraEnv"),
            ({"extraEnv": [{"name": "DATABASE_URL", "value": "postgres://u:p@h/d"}]}, "extraEnv"),
            ({"extraEnv": [{"name": "AGENT_ORCHESTRATOR_PORT", "value": "80"}]}, "extraEnv"),
        ]:
            with self.subTest(values):
                done = helm(["template", "release"], values)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("schema", done.stderr)
                self.assertIn(named, done.stderr)


if __name__ == "__main__":
    unittest.main()
