{{/* What the Pod Security Standard "restricted" asks of a pod. */}}
{{- define "linea-stack.podSecurityContext" -}}
runAsNonRoot: true
{{- range $field := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with get $.Values.podSecurityContext $field }}
{{ $field }}: {{ . | int64 }}
{{- end }}
{{- end }}
# Large volumes: change the owner only where the top folder's owner is wrong.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What it asks of a container, and a read-only root file system. */}}
{{- define "linea-stack.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "linea-stack.image" -}}
{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}

{{/* The fields of a pod's spec that every component has: who it is and where it may run. */}}
{{- define "linea-stack.podSpec" -}}
serviceAccountName: {{ include "linea-stack.serviceAccountName" . | quote }}
automountServiceAccountToken: false
# Variables named after Services (BESU_…) would be read as options by Besu.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "linea-stack.podSecurityContext" .root | nindent 2 }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "linea-stack.affinity" . | trim }}
affinity:
  {{- . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $constraint := . }}
  {{- if not (include "linea-stack.has127" $.root) }}
  {{- $constraint = omit . "minDomains" }}
  {{- end }}
  - {{- toYaml $constraint | nindent 4 }}
    labelSelector:
      matchLabels:
        {{- include "linea-stack.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/*
The component's own affinity; otherwise one that keeps its pods in different zones, and in the zones of the values: a new
volume in any other would strand its pod, and the other half of its validator.
*/}}
{{- define "linea-stack.affinity" -}}
{{- if .values.affinity -}}
{{- if ne (default "none" .values.beside) "none" -}}
{{- fail (printf "%s.affinity replaces %s.beside, so %s.beside has no effect. Write %s.beside: none, or remove %s.affinity" .name .name .name .name .name) -}}
{{- end -}}
{{- toYaml .values.affinity -}}
{{- else -}}
{{- with and (default dict .values.persistence).enabled .root.Values.zones }}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - {key: topology.kubernetes.io/zone, operator: In, values: {{ toJson . }}}
{{- end }}
{{- if eq (default "none" .values.antiAffinity) "hard" }}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - {{- include "linea-stack.zoneTerm" . | nindent 6 }}
{{- else if eq (default "none" .values.antiAffinity) "soft" }}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        {{- include "linea-stack.zoneTerm" . | nindent 8 }}
{{- end -}}
{{- include "linea-stack.pairAffinity" . }}
{{- end -}}
{{- end -}}

{{/*
Keeps a Maru in the zone, or on the node, of the sequencer with its ordinal: a validator is both, and the loss of a zone
must not take halves of two. By the ordinal in the pods' labels, which an affinity can compare since 1.31.
*/}}
{{- define "linea-stack.pairAffinity" -}}
{{- $beside := default "none" .values.beside -}}
{{- if and (eq $beside "none") (eq (default "none" .values.antiAffinity) "hard") (include "linea-stack.has131" .root) -}}
{{- $beside = "zone" -}}
{{- end -}}
{{- if and (eq .name "maru") .root.Values.sequencer.enabled (ne $beside "none") }}
{{- if not (include "linea-stack.has131" .root) -}}
{{- fail (printf "maru.beside is %s, but Kubernetes %s.%s can't place a Maru beside the sequencer of its ordinal: this needs 1.31 or later. Write maru.beside: none" $beside .root.Capabilities.KubeVersion.Major .root.Capabilities.KubeVersion.Minor) -}}
{{- end }}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: {{ eq $beside "node" | ternary "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
      labelSelector:
        matchLabels:
          {{- include "linea-stack.selectorLabels" (dict "root" .root "name" "sequencer") | nindent 10 }}
      matchLabelKeys: [apps.kubernetes.io/pod-index]
{{- end }}
{{- end -}}

{{- define "linea-stack.zoneTerm" -}}
topologyKey: topology.kubernetes.io/zone
labelSelector:
  matchLabels:
    {{- include "linea-stack.selectorLabels" . | nindent 4 }}
{{- end -}}

{{/*
Fails when pods that must be in different zones are more than the zones.
Takes {component, pods}: the most pods there can be.
*/}}
{{- define "linea-stack.checkZones" -}}
{{- $zones := .component.root.Values.zones -}}
{{- if and $zones (eq (default "none" .component.values.antiAffinity) "hard") (not .component.values.affinity) -}}
{{- if gt (int .pods) (len $zones) -}}
{{- fail (printf "%s.antiAffinity is hard, so %d pods need as many zones, but zones has %d: some pods would stay Pending. If the cluster has more zones, add them to zones; otherwise write %s.antiAffinity: none and %s.topologySpreadConstraints over the zones" .component.name (int .pods) (len $zones) .component.name .component.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A probe from {command, path, port, …}: a command, an HTTP GET, or, if neither is set, a TCP connection. */}}
{{- define "linea-stack.probe" -}}
{{- if .command -}}
exec:
  command: {{ toJson .command }}
{{- else if .path -}}
httpGet:
  path: {{ .path | quote }}
  port: {{ .port }}
{{- else -}}
tcpSocket:
  port: {{ .port }}
{{- end }}
initialDelaySeconds: {{ .initialDelaySeconds }}
periodSeconds: {{ .periodSeconds }}
timeoutSeconds: {{ .timeoutSeconds }}
failureThreshold: {{ .failureThreshold }}
{{- end -}}

{{/* Goes on serving while load balancers take the pod out, which no rolling update waits for. */}}
{{- define "linea-stack.lifecycle" -}}
{{- with .values.preStopSleepSeconds -}}
lifecycle:
  preStop:
    {{- if include "linea-stack.has130" $.root }}
    sleep:
      seconds: {{ . }}
    {{- else }}
    exec:
      command: [sleep, {{ . | quote }}]
    {{- end }}
{{- end -}}
{{- end -}}

{{/* The probes of a container, three but for those whose value is null. */}}
{{- define "linea-stack.probes" -}}
{{- range $kind := list "startupProbe" "livenessProbe" "readinessProbe" }}
{{- with get $.values $kind }}
{{ $kind }}:
  {{- include "linea-stack.probe" . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* How a StatefulSet is updated, and that its volumes outlive it. */}}
{{- define "linea-stack.statefulSetPolicy" -}}
# Pods don't wait for each other: after an outage a validator must not wait for one that waits for it.
podManagementPolicy: Parallel
updateStrategy:
  {{- $strategy := deepCopy .values.updateStrategy }}
  {{- if and $strategy.rollingUpdate (not (include "linea-stack.has137" .root)) }}
  {{- $_ := set $strategy "rollingUpdate" (omit $strategy.rollingUpdate "maxUnavailable") }}
  {{- end }}
  {{- if eq $strategy.type "OnDelete" }}
  {{- $strategy = omit $strategy "rollingUpdate" }}
  {{- end }}
  {{- toYaml $strategy | nindent 2 }}
revisionHistoryLimit: 3
{{- if include "linea-stack.has127" .root }}
minReadySeconds: {{ .values.minReadySeconds }}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: Retain
  whenScaled: Retain
{{- end }}
{{- end -}}

{{/* The claim for the data of a StatefulSet's pod. Immutable, so it carries only the labels that never change. */}}
{{- define "linea-stack.volumeClaimTemplate" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
  labels:
    {{- include "linea-stack.selectorLabels" . | nindent 4 }}
spec:
  {{- include "linea-stack.volumeClaimSpec" .values.persistence | nindent 2 }}
{{- end -}}

{{- define "linea-stack.volumeClaimSpec" -}}
accessModes:
  {{- toYaml .accessModes | nindent 2 }}
{{- with .storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}

{{/* Budget of a component: minAvailable if it is set, otherwise maxUnavailable. */}}
{{- define "linea-stack.podDisruptionBudget" -}}
{{- $budget := .values.podDisruptionBudget -}}
{{- $pods := .values.replicas -}}
{{- if .values.autoscaling -}}
{{- $pods = ternary .values.autoscaling.minReplicas .values.replicas .values.autoscaling.enabled -}}
{{- end -}}
{{- /* The contract's budget, one of one, is accepted: NOTES warn. */ -}}
{{- if and (not (kindIs "string" $budget.minAvailable)) (gt (int $budget.minAvailable) 1) (ge (int $budget.minAvailable) (int $pods)) -}}
{{- fail (printf "%s.podDisruptionBudget.minAvailable is %d of %d pods: no node with one of these pods could be drained. Write maxUnavailable: 1 and minAvailable: 0" .name (int $budget.minAvailable) (int $pods)) -}}
{{- end -}}
{{- if eq (toString $budget.minAvailable) "100%" -}}
{{- fail (printf "%s.podDisruptionBudget.minAvailable is 100%%: no node with one of its pods could be drained. Write maxUnavailable: 1 and minAvailable: 0" .name) -}}
{{- end -}}
apiVersion: {{ include "linea-stack.api.podDisruptionBudget" .root }}
kind: PodDisruptionBudget
metadata:
  name: {{ include "linea-stack.componentName" . }}
  labels:
    {{- include "linea-stack.labels" . | nindent 4 }}
spec:
  {{- if .values.podDisruptionBudget.minAvailable }}
  minAvailable: {{ .values.podDisruptionBudget.minAvailable }}
  {{- else }}
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  {{- end }}
  {{- if include "linea-stack.has127" .root }}
  # A pod that isn't ready protects nothing: a drain does not need to wait for it.
  unhealthyPodEvictionPolicy: AlwaysAllow
  {{- end }}
  selector:
    matchLabels:
      {{- include "linea-stack.selectorLabels" . | nindent 6 }}
{{- end -}}

{{- define "linea-stack.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "linea-stack.serviceAccountName" . | quote }}
  labels:
    {{- include "linea-stack.labels" . | nindent 4 }}
  {{- with merge (deepCopy .values.serviceAccount.annotations) (fromYaml (include "linea-stack.roleAnnotation" .)) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# No pod of this chart talks to the Kubernetes API.
automountServiceAccountToken: false
{{- end -}}

{{/*
Scrapes a component's headless Service: its ports, or "metrics" if none are set. The label job says whose metrics
they are; by default it would be the Service's name, the same for Besu and the Maru beside it.
*/}}
{{- define "linea-stack.serviceMonitor" -}}
{{- $monitor := .root.Values.metrics.serviceMonitor -}}
{{- $name := include "linea-stack.componentName" . -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- /* In a namespace that releases share, their names would be the same. */}}
  name: {{ $monitor.namespace | empty | ternary $name (printf "%s-%s" .root.Release.Namespace $name) }}
  {{- with $monitor.namespace }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "linea-stack.labels" (dict "root" .root "name" .name "values" .values "own" $monitor.labels) | nindent 4 }}
spec:
  {{- with $monitor.namespace }}
  {{- if ne . $.root.Release.Namespace }}
  namespaceSelector:
    matchNames: [{{ $.root.Release.Namespace | quote }}]
  {{- end }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "linea-stack.selectorLabels" . | nindent 6 }}
  endpoints:
    {{- range .ports | default (list "metrics") }}
    - port: {{ . }}
      path: /metrics
      interval: {{ $monitor.interval }}
      scrapeTimeout: {{ $monitor.scrapeTimeout }}
      relabelings:
        - {targetLabel: job, replacement: {{ $name }}{{ eq . "maru-metrics" | ternary "-maru" "" }}}
    {{- end }}
{{- end -}}

{{/* Where a Besu reports to, for start.sh; nowhere while the Secret is not there. */}}
{{- define "linea-stack.ethstatsEnv" -}}
{{- if .Values.ethstats.enabled -}}
- name: ETHSTATS_HOST
  value: {{ include "linea-stack.fullname" . }}-ethstats:3000
- name: ETHSTATS_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ .Values.ethstats.secretName | quote }}
      key: secret
      optional: true
{{- end -}}
{{- end -}}

{{/* The secret that Maru and its sequencer share. Not optional: without it, anyone can use the Engine API. */}}
{{- define "linea-stack.engineSecretVolume" -}}
secret:
  secretName: {{ .Values.engine.jwtSecretName | quote }}
  defaultMode: 288 # 0440
  items:
    - {key: jwt, path: jwt}
{{- end -}}
