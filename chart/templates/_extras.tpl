{{/*
People's own containers, as items of a list. One without a securityContext gets the chart's: the namespace accepts no other
than a restricted one. It is not merged field by field, as a false would count as missing.
*/}}
{{- define "linea-stack.ownContainers" -}}
{{- range . }}
{{- $container := deepCopy . }}
{{- if not (hasKey . "securityContext") }}
{{- $_ := set $container "securityContext" (fromYaml (include "linea-stack.containerSecurityContext" .)) }}
{{- end }}
- {{- toYaml $container | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Init containers of a node: the one that restores, then people's own. Takes {component, parts}. */}}
{{- define "linea-stack.initContainers" -}}
{{- with include "linea-stack.restoreContainer" . }}
- {{- . | nindent 2 }}
{{- end }}
{{- include "linea-stack.ownContainers" .component.values.initContainers }}
{{- end -}}

{{/* The volume of a node's data where it has no claim: gone with the pod. Takes a component. */}}
{{- define "linea-stack.dataVolume" -}}
{{- if not .values.persistence.enabled }}
# For trials. It counts against the pod's limit of ephemeral-storage.
- name: data
  emptyDir: {}
{{- end }}
{{- end -}}

{{/* Fails where some nodes would lose the chain that others keep, or would be taken back again and again. */}}
{{- define "linea-stack.checkPersistence" -}}
{{- $sequencer := .Values.sequencer.persistence.enabled -}}
{{- $maru := .Values.maru.persistence.enabled -}}
{{- if and .Values.maru.enabled (ne $sequencer $maru) -}}
{{- fail (printf "sequencer.persistence.enabled is %t, but maru.persistence.enabled is %t: after a restart, one half of a validator would have the chain and the other none. Write the same for sequencer.persistence.enabled and maru.persistence.enabled" $sequencer $maru) -}}
{{- end -}}
{{- if and .Values.sequencer.enabled .Values.besu.enabled .Values.besu.persistence.enabled (not $sequencer) -}}
{{- fail "besu.persistence.enabled is true, but sequencer.persistence.enabled is false: when the validators lose the chain and begin a new one, Besu would stay on the old one. Write besu.persistence.enabled: false, or true for sequencer.persistence.enabled and maru.persistence.enabled" -}}
{{- end -}}
{{- $backup := .Values.restore.backup -}}
{{- if and .Values.sequencer.enabled (not $sequencer) $backup (ne $backup "latest") -}}
{{- fail (printf "restore.backup is %s, but sequencer.persistence.enabled is false: every restart would take the validator back to this backup, and the chain could fork. Write true for sequencer.persistence.enabled and maru.persistence.enabled, or remove restore.backup" $backup) -}}
{{- end -}}
{{- end -}}

{{/* How a Service gets its load balancer. Takes {root, service, type}: the Service's values, and its type. */}}
{{- define "linea-stack.loadBalancer" -}}
{{- if eq .type "LoadBalancer" }}
{{- if and .service.loadBalancerClass (include "linea-stack.has122" .root) }}
loadBalancerClass: {{ .service.loadBalancerClass | quote }}
{{- end }}
{{- with .service.loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if ne .type "ClusterIP" }}
{{- with .service.externalTrafficPolicy }}
externalTrafficPolicy: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
