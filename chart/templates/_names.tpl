{{/*
The prefix of every object's name: the release's name, or fullnameOverride.
The longest name made from it is a CronJob pod's volume claim; 40 characters leave room for every suffix.
*/}}
{{- define "linea-stack.fullname" -}}
{{- $name := default .Release.Name .Values.fullnameOverride -}}
{{- if gt (len $name) 40 -}}
{{- fail (cat "the name" $name "is longer than 40 characters: names of objects would be too long. Set fullnameOverride to at most 40 characters") -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "the release's name makes names of Services that begin with %s, which the API server rejects. Write fullnameOverride, or another name of the release: lower-case letters, digits and -, beginning with a letter" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "linea-stack.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/*
A component is a map {root, name, values}: the chart's context, the component's name as in labels and object names,
and its part of the values. One definition a component keeps the spelling of the three in one place.
*/}}
{{- define "linea-stack.componentName" -}}
{{ include "linea-stack.fullname" .root }}-{{ .name }}
{{- end -}}

{{/* Labels that select pods. They never change once released: a StatefulSet's selector is immutable. */}}
{{- define "linea-stack.selectorLabels" -}}
app.kubernetes.io/name: {{ include "linea-stack.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/*
Labels of a component's objects, with those of the values. "own" has labels of one kind.
None of them names a version: a new image tag changes only what runs it, and a new version of the chart nothing else.
*/}}
{{- define "linea-stack.labels" -}}
{{ include "linea-stack.selectorLabels" . }}
app.kubernetes.io/part-of: linea-stack
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with merge (deepCopy (default dict .own)) (default dict .root.Values.commonLabels) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a CronJob's Jobs, which run the component's image: with its version. */}}
{{- define "linea-stack.jobLabels" -}}
{{ include "linea-stack.labels" . }}
app.kubernetes.io/version: {{ .values.image.tag | quote }}
{{- end -}}

{{/* Labels of what makes a component's pods: with the versions of its image and of the chart. */}}
{{- define "linea-stack.workloadLabels" -}}
{{ include "linea-stack.jobLabels" . }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* Labels of pods: without helm.sh/chart, so that a new version of the chart alone restarts nothing. */}}
{{- define "linea-stack.podLabels" -}}
{{ include "linea-stack.selectorLabels" . }}
app.kubernetes.io/version: {{ .values.image.tag | quote }}
app.kubernetes.io/part-of: linea-stack
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with merge (deepCopy (default dict .values.podLabels)) (default dict .root.Values.commonLabels) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "linea-stack.serviceAccountName" -}}
{{- if .values.serviceAccount.create -}}
{{- default (include "linea-stack.componentName" .) .values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "linea-stack.genesisConfigMapName" -}}
{{- default (printf "%s-genesis" (include "linea-stack.fullname" .)) .Values.genesis.configMapName -}}
{{- end -}}

{{/* Host of the node that takes the TX Sender's transactions: a component of this release, or any Service's DNS name. */}}
{{- define "linea-stack.rpcHost" -}}
{{- $service := .Values.txSender.rpc.service -}}
{{- if has $service (list "besu" "sequencer") -}}
{{- if not (get .Values $service).enabled -}}
{{- $other := eq $service "besu" | ternary "sequencer" "besu" -}}
{{- $fix := (get .Values $other).enabled | ternary $other "the name of another node's Service" -}}
{{- fail (printf "txSender.rpc.service is %s, but %s.enabled is false: the TX Sender would have no node to send to. Write txSender.rpc.service: %s, or txSender.enabled: false" $service $service $fix) -}}
{{- end -}}
{{ include "linea-stack.fullname" . }}-{{ $service }}
{{- else -}}
{{ $service }}
{{- end -}}
{{- end -}}

{{/* Labels of helm's test, by a name of their own: no Service, budget or policy of the stack takes its pod for one of its. */}}
{{- define "linea-stack.testLabels" -}}
app.kubernetes.io/name: {{ include "linea-stack.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}
