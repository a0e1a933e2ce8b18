{{/* The names and labels that every object shares. */}}

{{- define "agent-orchestrator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* A release that is named after the chart gives its name once, not twice. 49 characters leave room for suffixes. */}}
{{- define "agent-orchestrator.fullname" -}}
{{- $name := include "agent-orchestrator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 49 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 49 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 49 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of a component's objects: a list of root and component. */}}
{{- define "agent-orchestrator.componentName" -}}
{{- printf "%s-%s" (include "agent-orchestrator.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{- define "agent-orchestrator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "agent-orchestrator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "agent-orchestrator.labels" -}}
{{ include "agent-orchestrator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "agent-orchestrator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "agent-orchestrator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Name of the Secret to read: the given one, the one this chart creates, or nothing. */}}
{{- define "agent-orchestrator.secretName" -}}
{{- $secret := .Values.secret -}}
{{- if $secret.existingName -}}
{{- $secret.existingName -}}
{{- else if include "agent-orchestrator.secretData" . -}}
{{- include "agent-orchestrator.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* What the created Secret holds, as far as it is given. */}}
{{- define "agent-orchestrator.secretData" -}}
{{- $names := dict "JWT_SECRET" "jwtSecret" "LLM_API_KEY" "llmApiKey" "WEBHOOK_SECRET" "webhookSecret"
  "RABBITMQ_PASSWORD" "rabbitmqPassword" "REDIS_PASSWORD" "redisPassword" "AUDIT_SERVICE_API_KEY" "auditServiceApiKey" -}}
{{- range $key, $name := $names -}}
{{- with index $.Values.secret $name }}
{{ $key }}: {{ b64enc . }}
{{- end -}}
{{- end -}}
{{- include "agent-orchestrator.ledgerSecretData" . -}}
{{- end -}}

{{/* The part of it that opens the ledger. */}}
{{- define "agent-orchestrator.ledgerSecretData" -}}
{{- with .Values.secret.postgresPassword }}
POSTGRES_PASSWORD: {{ b64enc . }}
{{- end -}}
{{- with .Values.secret.databaseUrl }}
DATABASE_URL: {{ b64enc . }}
{{- end -}}
{{- end -}}
