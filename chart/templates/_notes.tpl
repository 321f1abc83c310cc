{{/* Secrets and ConfigMaps, a line each. Takes {needs}: a list of {kind, name, keys, what, found}; found: it has other keys. */}}
{{- define "linea-stack.needs" -}}
{{- range .needs }}
  {{ .kind }} {{ .name }} {{ .found | ternary "exists, but lacks" "with" }} the {{ gt (len .keys) 1 | ternary "keys" "key" }} `{{ join "`, `" .keys }}`: {{ .what }}
{{- end }}
{{- end -}}

{{/* What the pods of this release wait for, as JSON: {needs}, as above, with found: false. */}}
{{- define "linea-stack.waitedFor" -}}
{{- $needs := list -}}
{{- if .Values.sequencer.enabled -}}
{{- $keys := splitList " " (include "linea-stack.keyNames" .Values.sequencer.replicas) -}}
{{- $needs = append $needs (dict "kind" "Secret" "name" .Values.sequencer.p2pKeySecretName "keys" $keys "what" "the sequencers' private keys") -}}
{{- end -}}
{{- if .Values.maru.enabled -}}
{{- $keys := splitList " " (include "linea-stack.keyNames" .Values.maru.replicas) -}}
{{- $needs = append $needs (dict "kind" "Secret" "name" .Values.maru.p2pKeySecretName "keys" $keys "what" "Maru's private keys") -}}
{{- end -}}
{{- if or .Values.sequencer.enabled .Values.maru.enabled -}}
{{- $needs = append $needs (dict "kind" "Secret" "name" .Values.engine.jwtSecretName "keys" (list "jwt") "what" "what sequencer and Maru share, 32 bytes in hex") -}}
{{- end -}}
{{- if and .Values.txSender.enabled (ne .Values.secrets.provider "plain") -}}
{{- $needs = append $needs (dict "kind" "Secret" "name" .Values.txSender.secretName "keys" (list "privateKey" "toAddress") "what" "the TX Sender's account, and where it sends to") -}}
{{- end -}}
{{- if and .Values.backup.enabled .Values.backup.secretName (eq .Values.aws.identity "none") -}}
{{- $needs = append $needs (dict "kind" "Secret" "name" .Values.backup.secretName "keys" (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY") "what" "access to the bucket of backups") -}}
{{- end -}}
{{- if not .Values.genesis.besu -}}
{{- $needs = append $needs (dict "kind" "ConfigMap" "name" (include "linea-stack.genesisConfigMapName" .) "keys" (list "besu.json" "maru.json") "what" "the chain's genesis") -}}
{{- end -}}
{{- $all := list -}}
{{- range $needs -}}
{{- $all = append $all (merge (dict "found" false) .) -}}
{{- end -}}
{{- dict "needs" $all | toJson -}}
{{- end -}}
