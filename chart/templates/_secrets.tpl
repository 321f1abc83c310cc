{{/*
A Secret that the External Secrets Operator makes, one entry of the store for each. Takes {component, secretName, keys,
refreshPolicy}. The operator's defaults are written out: Argo CD would see them as a difference.

A change of any label makes the operator look an OnChange entry up again (GetResourceVersion in
pkg/controllers/util/util.go), so there is none with a version: an upgrade must give no node another key.
https://external-secrets.io/latest/api/externalsecret/
*/}}
{{- define "linea-stack.externalSecret" -}}
{{- $root := .component.root -}}
{{- $external := $root.Values.secrets.external -}}
{{- $prefix := default $root.Release.Namespace $external.prefix -}}
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: {{ .secretName | quote }}
  labels:
    {{- include "linea-stack.selectorLabels" .component | nindent 4 }}
    app.kubernetes.io/part-of: linea-stack
    app.kubernetes.io/managed-by: {{ $root.Release.Service }}
spec:
  refreshPolicy: {{ .refreshPolicy }}
  refreshInterval: {{ $external.refreshInterval }}
  secretStoreRef:
    kind: {{ $external.storeKind }}
    name: {{ default (include "linea-stack.secretStoreName" $root) $external.storeName | quote }}
  target:
    name: {{ .secretName | quote }}
    creationPolicy: Owner
    # An entry that is gone from the store takes no running node's key away.
    deletionPolicy: Retain
  data:
    {{- range .keys }}
    - secretKey: {{ . }}
      remoteRef:
        key: {{ $prefix }}/{{ $.secretName }}
        property: {{ . }}
        conversionStrategy: Default
        decodingStrategy: None
        metadataPolicy: None
    {{- end }}
{{- end -}}

{{- define "linea-stack.secretStoreName" -}}
{{ include "linea-stack.fullname" . }}-aws
{{- end -}}
