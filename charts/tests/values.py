"""The values that the tests render the chart with: every form that it can take."""

import test_embedded

BACKENDS = {
    "mode": "full",
    "postgres": {"host": "postgres"},
    "rabbitmq": {"host": "rabbitmq.data"},
    "redis": {"host": "redis.data"},
    "brainFactory": {"host": "brain-factory"},
}
BUILT_IN = {
    **BACKENDS,
    "brainFactory": {"deploy": True, "port": 8311, "simulation": True},
    "llm": {"baseUrl": "http://ollama:11434/v1", "model": "small", "inputCost": "0.5", "outputCost": "0"},
    "podDisruptionBudget": {"enabled": False},
    "topologySpread": {"enabled": False},
    "migration": {"enabled": False},
    "api": {"drainSeconds": 0},
}
SECRETS = {
    "jwtSecret": "jwt-" + "k" * 32, "llmApiKey": "llm-key-1", "webhookSecret": "whsec_" + "d2Vi" * 8,
    "postgresPassword": "pg-password-1", "rabbitmqPassword": "mq-password-1", "redisPassword": "rd-password-1",
}
ENCRYPTED = {
    **BACKENDS,
    "requireAuth": True,
    "secret": SECRETS,
    "postgres": {"host": "postgres", "caSecretName": "pg-authority"},
    "rabbitmq": {"host": "rabbitmq", "tls": {"enabled": True, "caSecretName": "mq-authority"}},
    "redis": {"host": "redis", "tls": {"enabled": True, "caSecretName": "rd-authority"}},
    "networkPolicy": {"enabled": True},
    "worker": {"autoscaling": {"kind": "keda", "minReplicas": 1, "maxReplicas": 40}},
}
OPERATORS = {
    **BACKENDS,
    "postgres": {
        "host": "ledger-rw.data", "credentials": {"secretName": "ledger-app", "userKey": "username"},
    },
    "rabbitmq": {
        "host": "broker.data", "credentials": {"secretName": "broker-default-user", "userKey": "username"},
    },
    "redis": {"host": "cache.data", "credentials": {"secretName": "cache", "passwordKey": "redis-password"}},
    "worker": {"autoscaling": {"kind": "keda"}},
}
ADDRESS = {
    **BACKENDS,
    "postgres": {"urlFromSecret": True},
    "secret": {"existingName": "orchestrator-secrets"},
    "worker": {"autoscaling": {"kind": "keda"}},
}
PROMETHEUS = {
    **BACKENDS,
    "worker": {"autoscaling": {
        "kind": "keda", "keda": {"trigger": "prometheus", "prometheusAddress": "http://prometheus.monitoring:9090"}}},
}
HPA = {**BACKENDS, "worker": {"autoscaling": {"kind": "hpa", "tasksPerWorker": 500}}}
FULL = {
    **BACKENDS,
    "requireAuth": True,
    "metricsRequireAuth": True,
    "jwt": {"algorithm": "RS256", "jwksUrl": "https://issuer.example/jwks", "issuer": "https://issuer.example",
            "audience": "agents"},
    "rateLimit": {"perSecond": 1000000, "burst": 1000000},
    "corsAllowedOrigins": ["https://console.example"],
    "maxBodyBytes": 67108864,
    "retention": {"taskDays": 0, "auditDays": 3650},
    "auditServiceUrl": "http://audit-service:8340",
    "deploymentPipeline": {"host": "deployment-pipeline", "timeoutSeconds": 9},
    "maxQueueDepthPerAgent": 1000000000,
    "callbackAllowedHosts": "hooks.internal",
    "secret": {"existingName": "orchestrator-secrets"},
    "postgres": {"host": "postgres", "sslMode": "require"},
    "rabbitmq": {"host": "rabbitmq", "port": 5679, "vhost": "agents", "prefix": "prod.", "queueType": "classic"},
    "redis": {"host": "redis", "database": 3},
    "log": {"level": "info,orchestrator_api=debug", "format": "text"},
    "tracing": {
        "endpoint": "http://otel:4318", "tracesEndpoint": "http://otel:4318/v1/traces",
        "sampler": "parentbased_traceidratio", "samplerArg": "0.01",
    },
    "extraEnv": [{"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "deployment.environment=prod"}],
    "api": {"replicas": 3},
    "worker": {"replicas": 5, "shutdownGraceSeconds": 900},
    "networkPolicy": {
        "enabled": True, "apiFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "outside": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    },
    "ingress": {"enabled": True, "host": "agents.example"},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True, "labels": {"grafana_dashboard": "1", "folder": "agents"}},
}
FULL_MATRIX = {
    "backends": BACKENDS, "built in": BUILT_IN, "encrypted": ENCRYPTED, "operators": OPERATORS, "address": ADDRESS,
    "prometheus": PROMETHEUS, "hpa": HPA, "full": FULL,
}
EMBEDDED_POLICY = {"networkPolicy": {"enabled": True}, "brainFactory": {"simulation": True}}
MATRIX = {**test_embedded.MATRIX, "embedded policy": EMBEDDED_POLICY, **FULL_MATRIX}
