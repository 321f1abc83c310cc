{{/*
API versions by the cluster's version. "-0" lets vendors' versions (1.34.1-eks-…) take part in the comparison.
Sources: the API's own lifecycle notes in https://kubernetes.io/docs/reference/using-api/deprecation-guide/
*/}}
{{- define "linea-stack.api.podDisruptionBudget" -}}
{{- semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version | ternary "policy/v1" "policy/v1beta1" -}}
{{- end -}}

{{- define "linea-stack.api.cronJob" -}}
{{- semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version | ternary "batch/v1" "batch/v1beta1" -}}
{{- end -}}

{{- define "linea-stack.api.horizontalPodAutoscaler" -}}
{{- semverCompare ">=1.23-0" .Capabilities.KubeVersion.Version | ternary "autoscaling/v2" "autoscaling/v2beta2" -}}
{{- end -}}

{{/* "true" where a Service may name the class of its load balancer by default. */}}
{{- define "linea-stack.has122" -}}
{{- if semverCompare ">=1.22-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/* "true" where a Job has podFailurePolicy by default. */}}
{{- define "linea-stack.has126" -}}
{{- if semverCompare ">=1.26-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/*
"true" where StatefulSets have persistentVolumeClaimRetentionPolicy, budgets unhealthyPodEvictionPolicy and spread
constraints minDomains by default.
*/}}
{{- define "linea-stack.has127" -}}
{{- if semverCompare ">=1.27-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/* "true" where a pod may carry a volume claim of its own (generic ephemeral volumes, on by default since 1.21). */}}
{{- define "linea-stack.hasEphemeralVolumes" -}}
{{- if semverCompare ">=1.21-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/* "true" where a pod's affinity has matchLabelKeys by default. */}}
{{- define "linea-stack.has131" -}}
{{- if semverCompare ">=1.31-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/* "true" where a container's preStop may be a sleep by default. */}}
{{- define "linea-stack.has130" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/*
"true" where a StatefulSet's rolling update has maxUnavailable by default; before, the API server drops it. 1.35.0 to 1.35.3
had it, too, but 1.35.4 and 1.36 turned it off again, and of a version only the minor number is known here.
https://github.com/kubernetes/kubernetes/pull/137904, /pull/137926 and /pull/139466
*/}}
{{- define "linea-stack.has137" -}}
{{- if semverCompare ">=1.37-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}
