{{/* What the pods of both modes have in common. */}}

{{- define "agent-orchestrator.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Labels and annotations of a pod: a list of root and component ("" in the embedded mode). */}}
{{- define "agent-orchestrator.podMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "agent-orchestrator.labels" $root | nindent 2 }}
  {{- with index . 1 }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- with $root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A changed secret restarts the pod: the process reads its environment once.
  checksum/secret: {{ include (print $root.Template.BasePath "/secret.yaml") $root | sha256sum }}
  {{- with $root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Identity, security and placement of a pod. */}}
{{- define "agent-orchestrator.podBasics" -}}
automountServiceAccountToken: false
# Otherwise a Service named agent-orchestrator, redis or rabbitmq would set AGENT_ORCHESTRATOR_PORT, REDIS_PORT
# or RABBITMQ_PORT to an address such as tcp://10.0.0.1:8200.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Spreads the pods of a component over nodes and zones: a list of root and component. */}}
{{- define "agent-orchestrator.spread" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- if $root.Values.topologySpread.enabled -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    # Only pods of the same version count, so that an upgrade does not end lopsided.
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "agent-orchestrator.selectorLabels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $component }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "agent-orchestrator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Secrets with authorities, as {server: Secret}: a list of root and the servers that a process speaks to. */}}
{{- define "agent-orchestrator.authorities" -}}
{{- $values := (index . 0).Values -}}
{{- $found := dict -}}
{{- range index . 1 -}}
{{- if and (eq . "postgres") $values.postgres.host $values.postgres.caSecretName (not $values.postgres.urlFromSecret) -}}
{{- $_ := set $found . $values.postgres.caSecretName -}}
{{- else if and (eq . "rabbitmq") $values.rabbitmq.tls.caSecretName -}}
{{- $_ := set $found . $values.rabbitmq.tls.caSecretName -}}
{{- else if and (eq . "redis") $values.redis.tls.caSecretName -}}
{{- $_ := set $found . $values.redis.tls.caSecretName -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- define "agent-orchestrator.authorityMounts" -}}
{{- range $server, $secret := include "agent-orchestrator.authorities" . | fromYaml }}
- name: {{ $server }}-ca
  mountPath: /etc/agent-orchestrator/{{ $server }}
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "agent-orchestrator.authorityVolumes" -}}
{{- range $server, $secret := include "agent-orchestrator.authorities" . | fromYaml }}
- name: {{ $server }}-ca
  secret:
    secretName: {{ $secret }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end -}}
{{- end -}}
