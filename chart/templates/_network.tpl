{{/* Pods of a component of this release, as a NetworkPolicy peer. Takes {root, name}. */}}
{{- define "linea-stack.peer" -}}
podSelector:
  matchLabels:
    {{- include "linea-stack.selectorLabels" . | nindent 4 }}
{{- end -}}

{{/* The head of a component's NetworkPolicy, down to its rules: what they don't allow is denied, both ways. */}}
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
  policyTypes: [Ingress, Egress]
{{- end -}}

{{- define "linea-stack.ports.execution-p2p" -}}
- {port: 30303, protocol: TCP}
- {port: 30303, protocol: UDP}
{{- end -}}

{{- define "linea-stack.ports.consensus-p2p" -}}
- {port: 9000, protocol: TCP}
- {port: 9000, protocol: UDP}
{{- end -}}

{{/* The cluster's DNS. Takes the chart's context. */}}
{{- define "linea-stack.dnsEgress" -}}
{{- with .Values.networkPolicy.dnsTo -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* The port of S3: that of the endpoint in the values, otherwise HTTPS'. */}}
{{- define "linea-stack.s3Port" -}}
{{- with .Values.backup.storage.endpoint -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .).host | trimPrefix ":" -}}
{{- default (hasPrefix "http://" . | ternary "80" "443") $port -}}
{{- else -}}
443
{{- end -}}
{{- end -}}

{{/*
S3, and where the credentials for it come from: STS, by the same rule, or the agent of EKS Pod Identity on the node
(https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html).
*/}}
{{- define "linea-stack.backupEgress" -}}
{{- with .Values.networkPolicy.backupTo -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    {{- $s3 := include "linea-stack.s3Port" $ }}
    - {port: {{ $s3 }}, protocol: TCP}
    {{- if and (eq $.Values.aws.identity "irsa") (ne $s3 "443") }}
    # STS
    - {port: 443, protocol: TCP}
    {{- end }}
{{- end -}}
{{- if eq .Values.aws.identity "podIdentity" }}
- to:
    - ipBlock:
        cidr: 169.254.170.23/32
    - ipBlock:
        cidr: fd00:ec2::23/128
  ports:
    - {port: 80, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* The same for the nodes' init containers, where the values ask for a backup. Takes a component. */}}
{{- define "linea-stack.restoreEgress" -}}
{{- if include "linea-stack.restores" . -}}
{{- include "linea-stack.backupEgress" .root -}}
{{- end -}}
{{- end -}}
