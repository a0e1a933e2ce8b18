{{/* The environment of each process. Groups of variables are named after what they configure; who needs which is below. */}}

{{/* One variable: a list of its name and value. Nothing for a value that is empty: the process has the defaults. */}}
{{- define "agent-orchestrator.variable" -}}
{{- $value := index . 1 -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
- name: {{ index . 0 }}
  value: {{ toString $value | quote }}
{{- end -}}
{{- end -}}

{{/* One variable out of a Secret: a list of its name, the Secret's, the key, and whether it has to be there. */}}
{{- define "agent-orchestrator.secretVariable" }}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
      optional: {{ not (index . 3) }}
{{- end -}}

{{/* The login of a server: a dict of prefix (of its variables), server (its values) and secret (name of the Secret, or ""). */}}
{{- define "agent-orchestrator.login" -}}
{{- $own := .server.credentials -}}
{{- if and $own.secretName $own.userKey -}}
{{- include "agent-orchestrator.secretVariable" (list (print .prefix "_USER") $own.secretName $own.userKey true) -}}
{{- else -}}
{{- include "agent-orchestrator.variable" (list (print .prefix "_USER") .server.user) -}}
{{- end -}}
{{- if $own.secretName -}}
{{- include "agent-orchestrator.secretVariable" (list (print .prefix "_PASSWORD") $own.secretName $own.passwordKey true) -}}
{{- else if .secret -}}
{{- include "agent-orchestrator.secretVariable" (list (print .prefix "_PASSWORD") .secret (print .prefix "_PASSWORD") false) -}}
{{- end -}}
{{- end -}}

{{/* The ledger: a dict of root and secret. */}}
{{- define "agent-orchestrator.ledgerVariables" -}}
{{- with .root.Values.postgres -}}
{{- if .urlFromSecret -}}
{{- include "agent-orchestrator.secretVariable" (list "DATABASE_URL" $.secret "DATABASE_URL" true) -}}
{{- else if .host -}}
{{- include "agent-orchestrator.variable" (list "POSTGRES_HOST" .host) -}}
{{- include "agent-orchestrator.variable" (list "POSTGRES_PORT" .port) -}}
{{- include "agent-orchestrator.variable" (list "POSTGRES_DB" .database) -}}
{{- include "agent-orchestrator.variable" (list "POSTGRES_SSLMODE" .sslMode) -}}
{{- if .caSecretName -}}
{{- include "agent-orchestrator.variable" (list "POSTGRES_CA_FILE" "/etc/agent-orchestrator/postgres/ca.crt") -}}
{{- end -}}
{{- include "agent-orchestrator.login" (dict "prefix" "POSTGRES" "server" . "secret" $.secret) -}}
{{- end -}}
{{- if or .urlFromSecret .host -}}
{{- include "agent-orchestrator.variable" (list "DATABASE_MAX_CONNECTIONS" .maxConnections) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "agent-orchestrator.brokerVariables" -}}
{{- $secret := include "agent-orchestrator.secretName" . -}}
{{- with .Values.rabbitmq -}}
{{- include "agent-orchestrator.variable" (list "RABBITMQ_HOST" .host) -}}
{{- if .port }}{{ include "agent-orchestrator.variable" (list "RABBITMQ_PORT" .port) }}{{ end -}}
{{- include "agent-orchestrator.variable" (list "RABBITMQ_VHOST" .vhost) -}}
{{- include "agent-orchestrator.variable" (list "RABBITMQ_PREFIX" .prefix) -}}
{{- include "agent-orchestrator.variable" (list "RABBITMQ_QUEUE_TYPE" .queueType) -}}
{{- include "agent-orchestrator.variable" (list "RABBITMQ_TLS" .tls.enabled) -}}
{{- if .tls.caSecretName -}}
{{- include "agent-orchestrator.variable" (list "RABBITMQ_CA_FILE" "/etc/agent-orchestrator/rabbitmq/ca.crt") -}}
{{- end -}}
{{- include "agent-orchestrator.login" (dict "prefix" "RABBITMQ" "server" . "secret" $secret) -}}
{{- end -}}
{{- with .Values.redis -}}
{{- include "agent-orchestrator.variable" (list "REDIS_HOST" .host) -}}
{{- include "agent-orchestrator.variable" (list "REDIS_PORT" .port) -}}
{{- include "agent-orchestrator.variable" (list "REDIS_DB" .database) -}}
{{- include "agent-orchestrator.variable" (list "REDIS_TLS" .tls.enabled) -}}
{{- if .tls.caSecretName -}}
{{- include "agent-orchestrator.variable" (list "REDIS_CA_FILE" "/etc/agent-orchestrator/redis/ca.crt") -}}
{{- end -}}
{{- include "agent-orchestrator.login" (dict "prefix" "REDIS" "server" . "secret" $secret) -}}
{{- end -}}
{{- end -}}

{{/* Who may call. Between processes of the full mode a secret is needed whatever callers have. */}}
{{- define "agent-orchestrator.authVariables" -}}
{{- $secret := include "agent-orchestrator.secretName" . -}}
{{- $shared := or (eq .Values.jwt.algorithm "HS256") (eq .Values.mode "full") -}}
{{- include "agent-orchestrator.variable" (list "REQUIRE_AUTH" .Values.requireAuth) -}}
{{- include "agent-orchestrator.variable" (list "METRICS_REQUIRE_AUTH" .Values.metricsRequireAuth) -}}
{{- with .Values.jwt -}}
{{- include "agent-orchestrator.variable" (list "JWT_ALGORITHM" .algorithm) -}}
{{- include "agent-orchestrator.variable" (list "JWT_PUBLIC_KEY" .publicKey) -}}
{{- include "agent-orchestrator.variable" (list "JWT_JWKS_URL" .jwksUrl) -}}
{{- include "agent-orchestrator.variable" (list "JWT_ISSUER" .issuer) -}}
{{- include "agent-orchestrator.variable" (list "JWT_AUDIENCE" .audience) -}}
{{- end -}}
{{- if $secret -}}
{{- include "agent-orchestrator.secretVariable" (list "JWT_SECRET" $secret "JWT_SECRET" (and .Values.requireAuth $shared)) -}}
{{- end -}}
{{- end -}}

{{- define "agent-orchestrator.httpVariables" -}}
{{- include "agent-orchestrator.variable" (list "AGENT_ORCHESTRATOR_HOST" "0.0.0.0") -}}
{{- include "agent-orchestrator.variable" (list "AGENT_ORCHESTRATOR_PORT" 8200) -}}
{{- include "agent-orchestrator.variable" (list "MAX_BODY_BYTES" (int64 .Values.maxBodyBytes)) -}}
{{- include "agent-orchestrator.variable" (list "MAX_QUEUE_DEPTH_PER_AGENT" (int64 .Values.maxQueueDepthPerAgent)) -}}
{{- with .Values.rateLimit -}}
{{- if .perSecond -}}
{{- include "agent-orchestrator.variable" (list "RATE_LIMIT_PER_SECOND" (int64 .perSecond)) -}}
{{- if .burst }}{{ include "agent-orchestrator.variable" (list "RATE_LIMIT_BURST" (int64 .burst)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- include "agent-orchestrator.variable" (list "CORS_ALLOWED_ORIGINS" (join "," .Values.corsAllowedOrigins)) -}}
{{- end -}}

{{/* What holds for agents and their tasks, and callbacks. */}}
{{- define "agent-orchestrator.agentVariables" -}}
{{- $secret := include "agent-orchestrator.secretName" . -}}
{{- include "agent-orchestrator.variable" (list "MAX_CONCURRENT_AGENT_SESSIONS" (int64 .Values.maxConcurrentAgentSessions)) -}}
{{- include "agent-orchestrator.variable" (list "AGENT_AUTO_START" .Values.agentAutoStart) -}}
{{- include "agent-orchestrator.variable" (list "AGENT_METRICS_ENABLED" .Values.agentMetricsEnabled) -}}
{{- include "agent-orchestrator.variable" (list "AGENT_SESSION_TIMEOUT_MINUTES" (int64 .Values.agentSessionTimeoutMinutes)) -}}
{{- include "agent-orchestrator.variable" (list "CALLBACK_ALLOWED_HOSTS" .Values.callbackAllowedHosts) -}}
{{- if $secret -}}
{{- include "agent-orchestrator.secretVariable" (list "WEBHOOK_SECRET" $secret "WEBHOOK_SECRET" false) -}}
{{- end -}}
{{- end -}}

{{/* What workers do for the ledger beside running tasks: deleting what ended long ago, and forwarding the audit log. */}}
{{- define "agent-orchestrator.upkeepVariables" -}}
{{- with .Values.retention -}}
{{- include "agent-orchestrator.variable" (list "TASK_RETENTION_DAYS" .taskDays) -}}
{{- include "agent-orchestrator.variable" (list "SESSION_RETENTION_DAYS" .sessionDays) -}}
{{- include "agent-orchestrator.variable" (list "CALLBACK_RETENTION_DAYS" .callbackDays) -}}
{{- include "agent-orchestrator.variable" (list "DEAD_LETTER_RETENTION_DAYS" .deadLetterDays) -}}
{{- include "agent-orchestrator.variable" (list "AUDIT_RETENTION_DAYS" .auditDays) -}}
{{- end -}}
{{- if .Values.auditServiceUrl -}}
{{- include "agent-orchestrator.variable" (list "AUDIT_SERVICE_URL" .Values.auditServiceUrl) -}}
{{- include "agent-orchestrator.secretVariable" (list "AUDIT_SERVICE_API_KEY" (include "agent-orchestrator.secretName" .) "AUDIT_SERVICE_API_KEY" true) -}}
{{- end -}}
{{- end -}}

{{/* Where agents are made. */}}
{{- define "agent-orchestrator.brainFactoryVariables" -}}
{{- with .Values.brainFactory -}}
{{- if or .host .deploy -}}
{{- include "agent-orchestrator.variable" (list "BRAIN_FACTORY_HOST" (default (include "agent-orchestrator.componentName" (list $ "brain-factory")) .host)) -}}
{{- include "agent-orchestrator.variable" (list "BRAIN_FACTORY_PORT" .port) -}}
{{- end -}}
{{- include "agent-orchestrator.variable" (list "BRAIN_FACTORY_TIMEOUT_SECONDS" .timeoutSeconds) -}}
{{- end -}}
{{- with .Values.deploymentPipeline -}}
{{- if .host -}}
{{- include "agent-orchestrator.variable" (list "DEPLOYMENT_PIPELINE_HOST" .host) -}}
{{- include "agent-orchestrator.variable" (list "DEPLOYMENT_PIPELINE_PORT" .port) -}}
{{- include "agent-orchestrator.variable" (list "DEPLOYMENT_PIPELINE_TIMEOUT_SECONDS" .timeoutSeconds) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The built-in Brain Factory and its language model. */}}
{{- define "agent-orchestrator.builtInVariables" -}}
{{- $secret := include "agent-orchestrator.secretName" . -}}
{{- include "agent-orchestrator.variable" (list "BRAIN_FACTORY_SIMULATION" .Values.brainFactory.simulation) -}}
{{- with .Values.llm -}}
{{- if .baseUrl -}}
{{- include "agent-orchestrator.variable" (list "LLM_BASE_URL" .baseUrl) -}}
{{- include "agent-orchestrator.variable" (list "LLM_MODEL" .model) -}}
{{- include "agent-orchestrator.variable" (list "LLM_INPUT_COST" .inputCost) -}}
{{- include "agent-orchestrator.variable" (list "LLM_OUTPUT_COST" .outputCost) -}}
{{- if $secret -}}
{{- include "agent-orchestrator.secretVariable" (list "LLM_API_KEY" $secret "LLM_API_KEY" false) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "agent-orchestrator.telemetryVariables" -}}
{{- include "agent-orchestrator.variable" (list "LOG_LEVEL" .Values.log.level) -}}
{{- include "agent-orchestrator.variable" (list "LOG_FORMAT" .Values.log.format) -}}
{{- with .Values.tracing -}}
{{- if or .endpoint .tracesEndpoint -}}
{{- include "agent-orchestrator.variable" (list "OTEL_EXPORTER_OTLP_ENDPOINT" .endpoint) -}}
{{- include "agent-orchestrator.variable" (list "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" .tracesEndpoint) -}}
{{- include "agent-orchestrator.variable" (list "OTEL_TRACES_SAMPLER" .sampler) -}}
{{- include "agent-orchestrator.variable" (list "OTEL_TRACES_SAMPLER_ARG" .samplerArg) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The environment of a process: a list of root and component. */}}
{{- define "agent-orchestrator.environment" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $ledger := dict "root" $root "secret" (include "agent-orchestrator.secretName" $root) -}}
{{- if eq $component "embedded" -}}
{{- include "agent-orchestrator.httpVariables" $root -}}
{{- include "agent-orchestrator.variable" (list "ORCHESTRATOR_DATA_DIR" "/var/lib/agent-orchestrator") -}}
{{- include "agent-orchestrator.authVariables" $root -}}
{{- include "agent-orchestrator.agentVariables" $root -}}
{{- include "agent-orchestrator.variable" (list "WORKER_CONCURRENCY" (int64 $root.Values.workerConcurrency)) -}}
{{- include "agent-orchestrator.variable" (list "SHUTDOWN_GRACE_SECONDS" (int64 $root.Values.shutdownGraceSeconds)) -}}
{{- include "agent-orchestrator.brainFactoryVariables" $root -}}
{{- include "agent-orchestrator.upkeepVariables" $root -}}
{{- include "agent-orchestrator.builtInVariables" $root -}}
{{- include "agent-orchestrator.ledgerVariables" $ledger -}}
{{- else if eq $component "api" -}}
{{- include "agent-orchestrator.httpVariables" $root -}}
{{- include "agent-orchestrator.authVariables" $root -}}
{{- include "agent-orchestrator.agentVariables" $root -}}
{{- include "agent-orchestrator.variable" (list "SHUTDOWN_GRACE_SECONDS" (int64 $root.Values.shutdownGraceSeconds)) -}}
{{- include "agent-orchestrator.ledgerVariables" $ledger -}}
{{- include "agent-orchestrator.brokerVariables" $root -}}
{{- else if eq $component "worker" -}}
{{- include "agent-orchestrator.variable" (list "WORKER_HEALTH_HOST" "0.0.0.0") -}}
{{- include "agent-orchestrator.variable" (list "WORKER_HEALTH_PORT" 8201) -}}
{{- include "agent-orchestrator.authVariables" $root -}}
{{- include "agent-orchestrator.agentVariables" $root -}}
{{- include "agent-orchestrator.variable" (list "WORKER_CONCURRENCY" (int64 $root.Values.workerConcurrency)) -}}
{{- include "agent-orchestrator.variable" (list "SHUTDOWN_GRACE_SECONDS" (int64 $root.Values.worker.shutdownGraceSeconds)) -}}
{{- include "agent-orchestrator.brainFactoryVariables" $root -}}
{{- include "agent-orchestrator.upkeepVariables" $root -}}
{{- include "agent-orchestrator.ledgerVariables" $ledger -}}
{{- include "agent-orchestrator.brokerVariables" $root -}}
{{- else if eq $component "brain-factory" }}
# Its address is also what it tells workers of its agents.
- name: BRAIN_FACTORY_HOST
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- include "agent-orchestrator.variable" (list "BRAIN_FACTORY_PORT" $root.Values.brainFactory.port) -}}
{{- include "agent-orchestrator.builtInVariables" $root -}}
{{- end -}}
{{- include "agent-orchestrator.telemetryVariables" $root -}}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end -}}
{{- end -}}
