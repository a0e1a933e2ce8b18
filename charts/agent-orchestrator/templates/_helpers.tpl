{{/* The names and labels that every object shares. */}}

{{- define "agent-orchestrator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* A release that is named after the chart gives its name once, not twice. 52 characters leave room for suffixes. */}}
{{- define "agent-orchestrator.fullname" -}}
{{- $name := include "agent-orchestrator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
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
{{- else if or $secret.jwtSecret $secret.llmApiKey $secret.webhookSecret $secret.postgresPassword -}}
{{- include "agent-orchestrator.fullname" . -}}
{{- end -}}
{{- end -}}
