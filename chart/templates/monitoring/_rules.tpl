{{/*
Rules are written for three readers of braces: Helm, PromQL and Prometheus' own templates of annotations. Here the
last are [[labels.pod]] and [[value]], which become {{ $labels.pod }} and {{ $value }}.
*/}}

{{/* The head of a PrometheusRule; its groups follow. Takes {root, name}. */}}
{{- define "linea-stack.rulesHead" -}}
{{- $rules := .root.Values.metrics.prometheusRule -}}
{{- if not $rules.runbookUrl -}}
{{- fail "metrics.prometheusRule.enabled is true, but metrics.prometheusRule.runbookUrl is empty: alerts would not link to their runbooks. Set runbookUrl to the URL of this repository's docs/runbooks, for example https://git.example.com/linea/linea-stack-gitops/blob/main/docs/runbooks" -}}
{{- end -}}
{{- $name := printf "%s-%s" (include "linea-stack.fullname" .root) .name -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ $rules.namespace | empty | ternary $name (printf "%s-%s" .root.Release.Namespace $name) }}
  {{- with $rules.namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "linea-stack.labels" (dict "root" .root "name" .name "values" dict "own" $rules.labels) | nindent 4 }}
{{- end -}}

{{/* Labels and annotations of an alert. Takes {root, name, severity, summary, description}. */}}
{{- define "linea-stack.alert" -}}
labels:
  severity: {{ .severity }}
annotations:
  summary: {{ .summary | replace "[[" "{{ $" | replace "]]" " }}" | quote }}
  description: {{ .description | replace "[[" "{{ $" | replace "]]" " }}" | quote }}
  runbook_url: {{ .root.Values.metrics.prometheusRule.runbookUrl }}/{{ .name }}.md
{{- end -}}

{{/* Matchers of the series that nodes export themselves. Takes {root, jobs}: components, or besu-maru. */}}
{{- define "linea-stack.ofJobs" -}}
{{- $jobs := list -}}
{{- range .jobs -}}
{{- $jobs = append $jobs (printf "%s-%s" (include "linea-stack.fullname" $.root) .) -}}
{{- end -}}
namespace={{ .root.Release.Namespace | quote }}, job={{ gt (len $jobs) 1 | ternary "~" "" }}{{ join "|" $jobs | quote }}
{{- end -}}

{{/* Matchers of the series of one object. Takes {root, label, name}: the name without the release's. */}}
{{- define "linea-stack.ofObject" -}}
namespace={{ .root.Release.Namespace | quote }}, {{ .label }}={{ printf "%s-%s" (include "linea-stack.fullname" .root) .name | quote }}
{{- end -}}

{{/* Validators in the chain's set, and how many of them make a block: calculateRequiredValidatorQuorum in Besu's BftHelpers.java. */}}
{{- define "linea-stack.validatorCount" -}}
{{- .Values.network.validators | empty | ternary .Values.maru.replicas (len .Values.network.validators) -}}
{{- end -}}

{{- define "linea-stack.quorum" -}}
{{- div (add (mul 2 (include "linea-stack.validatorCount" . | int)) 2) 3 -}}
{{- end -}}

{{/*
Jobs of the Probes, separated by |: one for each host that has an Ingress and a module.
*/}}
{{- define "linea-stack.probed" -}}
{{- $probed := list -}}
{{- if and .Values.metrics.probe.enabled .Values.ingress.enabled -}}
{{- range $name, $component := dict "rpc" "besu" "ws" "besu" "ethstats" "ethstats" -}}
{{- if and (index $.Values $component).enabled (index $.Values.ingress $name).host (index $.Values.metrics.probe.modules $name) -}}
{{- $probed = append $probed $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "|" $probed -}}
{{- end -}}
