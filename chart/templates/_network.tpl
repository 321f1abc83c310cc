{{/* Pods of a component of this release, as a NetworkPolicy peer. Takes {root, name}. */}}
{{- define "linea-stack.peer" -}}
podSelector:
  matchLabels:
    {{- include "linea-stack.selectorLabels" . | nindent 4 }}
{{- end -}}

{{/* The head of a component's NetworkPolicy, down to its selector. */}}
{{- define "linea-stack.networkPolicyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "linea-stack.componentName" . }}
  labels:
    {{- include "linea-stack.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "linea-stack.selectorLabels" . | nindent 6 }}
{{- end -}}

{{- define "linea-stack.ports.execution-p2p" -}}
- {port: 30303, protocol: TCP}
- {port: 30303, protocol: UDP}
{{- end -}}

{{- define "linea-stack.ports.consensus-p2p" -}}
- {port: 9000, protocol: TCP}
- {port: 9000, protocol: UDP}
{{- end -}}

{{/* To the bucket that a backup is fetched from, where the values name one. */}}
{{- define "linea-stack.restoreEgress" -}}
{{- if .Values.restore.backup -}}
{{- with .Values.networkPolicy.backupTo -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - {port: 443, protocol: TCP}
{{- end -}}
{{- end -}}
{{- end -}}
