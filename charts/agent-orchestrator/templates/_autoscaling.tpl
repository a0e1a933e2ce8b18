{{/* How fast the number of workers changes, and the work that it follows. */}}

{{- define "agent-orchestrator.scalingBehavior" -}}
{{- with .Values.worker.autoscaling -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
    - {type: Pods, value: 4, periodSeconds: 15}
  selectPolicy: Max
# One at a time: each takes its time to finish what it runs.
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDownAfterSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: {{ .scaleDownEverySeconds }}}
{{- end -}}
{{- end -}}

{{/* Tasks that run or could run now, out of files/work.sql. */}}
{{- define "agent-orchestrator.workQuery" -}}
{{- $lines := list -}}
{{- range splitList "\n" (.Files.Get "files/work.sql") -}}
{{- if and . (not (hasPrefix "--" .)) }}{{ $lines = append $lines (trim .) }}{{ end -}}
{{- end -}}
{{- join " " $lines | replace ":sessions" (toString .Values.maxConcurrentAgentSessions) -}}
{{- end -}}
