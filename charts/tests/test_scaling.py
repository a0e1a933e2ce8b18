"""How the number of workers is decided: by one of three, never two, and by work that more workers would help with."""

import unittest

from chart import of_kind, only, render
from values import ADDRESS, BACKENDS, ENCRYPTED, FULL_MATRIX, HPA, OPERATORS, PROMETHEUS

WORKER = "release-agent-orchestrator-worker"


def trigger(values):
    (found,) = only(render(values), "ScaledObject")["spec"]["triggers"]
    return found


class Scaling(unittest.TestCase):
    def test_a_fixed_number_keda_and_an_hpa_are_never_together(self):
        seen = set()
        for name, values in FULL_MATRIX.items():
            objects = render(values)
            deciding = {
                "none": "replicas" in of_kind(objects, "Deployment")[WORKER]["spec"],
                "keda": bool(of_kind(objects, "ScaledObject")),
                "hpa": bool(of_kind(objects, "HorizontalPodAutoscaler")),
            }
            kind = values.get("worker", {}).get("autoscaling", {}).get("kind", "none")
            with self.subTest(name):
                self.assertEqual([what for what, there in deciding.items() if there], [kind])
            seen.add(kind)
        self.assertEqual(seen, {"none", "keda", "hpa"})

    def test_both_scale_the_deployment_of_workers_within_its_bounds(self):
        for values, kind, names in [
            (ENCRYPTED, "ScaledObject", ("minReplicaCount", "maxReplicaCount")),
            (HPA, "HorizontalPodAutoscaler", ("minReplicas", "maxReplicas")),
        ]:
            objects = render(values)
            spec = only(objects, kind)["spec"]
            self.assertIn(spec["scaleTargetRef"]["name"], of_kind(objects, "Deployment"))
            bounds = {"minReplicas": 2, "maxReplicas": 10, **values["worker"]["autoscaling"]}
            self.assertEqual([spec[name] for name in names], [bounds["minReplicas"], bounds["maxReplicas"]])

    def test_workers_are_stopped_one_at_a_time_and_only_after_a_while(self):
        spec = only(render(ENCRYPTED), "ScaledObject")["spec"]
        keda = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        hpa = only(render(HPA), "HorizontalPodAutoscaler")["spec"]["behavior"]
        self.assertEqual(keda, hpa)
        self.assertEqual(hpa["scaleDown"]["stabilizationWindowSeconds"], 300)
        self.assertEqual(hpa["scaleDown"]["policies"], [{"type": "Pods", "value": 1, "periodSeconds": 60}])
        self.assertEqual(hpa["scaleUp"]["stabilizationWindowSeconds"], 0)

    def test_keda_counts_the_work_in_the_ledger(self):
        found = trigger(ENCRYPTED)
        self.assertEqual((found["type"], found["metricType"]), ("postgresql", "AverageValue"))
        query = found["metadata"]["query"]
        self.assertTrue(query.startswith("SELECT COALESCE(SUM(running"), query)
        self.assertIn("COALESCE(max_concurrent_sessions, 10)", query)
        self.assertFalse(any(left in query for left in ("--", "\n", ":sessions")), query)
        self.assertEqual(found["metadata"]["targetQueryValue"], "700")

    def test_keda_finds_the_ledger_from_its_own_namespace(self):
        self.assertEqual(trigger(ENCRYPTED)["metadata"]["host"], "postgres.agents.svc")
        self.assertEqual(trigger(OPERATORS)["metadata"]["host"], "ledger-rw.data")
        self.assertEqual(trigger(ENCRYPTED)["metadata"]["sslmode"], "require")
        self.assertEqual(trigger(OPERATORS)["metadata"]["sslmode"], "prefer")

    def test_keda_opens_the_ledger_with_the_secret_of_the_workers(self):
        expected = {
            "encrypted": (ENCRYPTED, [("password", "release-agent-orchestrator", "POSTGRES_PASSWORD")]),
            "operators": (OPERATORS, [("userName", "ledger-app", "username"), ("password", "ledger-app", "password")]),
            "address": (ADDRESS, [("connection", "orchestrator-secrets", "DATABASE_URL")]),
        }
        for name, (values, secrets) in expected.items():
            with self.subTest(name):
                authentication = only(render(values), "TriggerAuthentication")
                found = authentication["spec"]["secretTargetRef"]
                self.assertEqual([(one["parameter"], one["name"], one["key"]) for one in found], secrets)
                self.assertEqual(trigger(values)["authenticationRef"]["name"], authentication["metadata"]["name"])
        self.assertNotIn("host", trigger(ADDRESS)["metadata"])
        self.assertNotIn("userName", trigger(OPERATORS)["metadata"])

    def test_an_authentication_of_ones_own_is_used_and_none_made(self):
        values = {**BACKENDS, "worker": {"autoscaling": {"kind": "keda", "keda": {"authenticationName": "mine"}}}}
        self.assertEqual(of_kind(render(values), "TriggerAuthentication"), {})
        self.assertEqual(trigger(values)["authenticationRef"]["name"], "mine")

    def test_prometheus_is_asked_about_this_release_only(self):
        found = trigger(PROMETHEUS)
        self.assertEqual(found["metadata"]["serverAddress"], "http://prometheus.monitoring:9090")
        query = found["metadata"]["query"]
        self.assertEqual(query.count('namespace="agents"'), 2)
        self.assertEqual(query.count(f'pod=~"{WORKER}-.*"'), 2)

    def test_an_hpa_looks_at_what_each_worker_runs(self):
        (metric,) = only(render(HPA), "HorizontalPodAutoscaler")["spec"]["metrics"]
        self.assertEqual(metric["pods"]["metric"]["name"], "agent_orchestrator_worker_in_flight")
        self.assertEqual(metric["pods"]["target"], {"type": "AverageValue", "averageValue": "500"})


if __name__ == "__main__":
    unittest.main()
