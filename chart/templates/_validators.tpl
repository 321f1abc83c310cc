{{/*
Pods of sequencer or maru by ordinal, as names that their headless Service resolves, separated by spaces.
Takes {root, name}.
*/}}
{{- define "linea-stack.podHosts" -}}
{{- $name := include "linea-stack.componentName" . -}}
{{- $hosts := list -}}
{{- range $i := until (int (get .root.Values .name).replicas) -}}
{{- $hosts = append $hosts (printf "%s-%d.%s" $name $i $name) -}}
{{- end -}}
{{- join " " $hosts -}}
{{- end -}}

{{/* Enodes of the sequencers, as JSON: https://besu.hyperledger.org/public-networks/how-to/connect/static-nodes */}}
{{- define "linea-stack.staticNodes" -}}
{{- $nodes := list -}}
{{- if .Values.sequencer.enabled -}}
{{- range $i, $host := compact (splitList " " (include "linea-stack.podHosts" (dict "root" . "name" "sequencer"))) -}}
{{- if lt $i (len $.Values.network.validators) -}}
{{- $nodes = append $nodes (printf "enode://%s@%s:30303" (index $.Values.network.validators $i).nodeId $host) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toPrettyJson $nodes -}}
{{- end -}}

{{/* Multiaddresses of all Marus but one, as a TOML array. Takes {root, except}: the ordinal to leave out, or -1. */}}
{{- define "linea-stack.staticPeers" -}}
{{- $peers := list -}}
{{- if .root.Values.maru.enabled -}}
{{- range $i, $host := compact (splitList " " (include "linea-stack.podHosts" (dict "root" .root "name" "maru"))) -}}
{{- if and (lt $i (len $.root.Values.network.validators)) (ne $i (int $.except)) -}}
{{- $peers = append $peers (printf "/dns4/%s/tcp/9000/p2p/%s" $host (index $.root.Values.network.validators $i).peerId) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $peers -}}
{{- end -}}

{{/* The volume with one key a pod, each in a file that has the pod's name. Takes {component, secretName}. */}}
{{- define "linea-stack.keyVolume" -}}
secret:
  secretName: {{ .secretName | quote }}
  defaultMode: 288 # 0440
  items:
    {{- $name := include "linea-stack.componentName" .component }}
    {{- range $i := until (max 1 (int .component.values.replicas) | int) }}
    - {key: {{ ternary (printf "key-%d" $i) "key" (gt $i 0) }}, path: {{ printf "%s-%d" $name $i }}}
    {{- end }}
{{- end -}}

{{/* Names of the keys in a Secret for so many pods, for people. */}}
{{- define "linea-stack.keyNames" -}}
`key`{{ range $i := until (int .) }}{{ if $i }}, `key-{{ $i }}`{{ end }}{{ end }}
{{- end -}}

{{/*
What differs from one network, or one Maru, to another, as TOML. Takes {root, except}: the ordinal of a validator,
which is no peer of itself, or -1 for a follower.
*/}}
{{- define "linea-stack.maruPeers" -}}
allow-empty-blocks = {{ .root.Values.maru.allowEmptyBlocks }}

[p2p]
static-peers = {{ include "linea-stack.staticPeers" . }}
{{- end -}}

{{/* Fails on numbers of validators that would make no block, fork, or only look as if they survived a fault. */}}
{{- define "linea-stack.checkValidators" -}}
{{- $keys := len .Values.network.validators -}}
{{- range $name := list "sequencer" "maru" -}}
{{- $replicas := int (get $.Values $name).replicas -}}
{{- if (get $.Values $name).enabled -}}
{{- if gt $replicas (max 1 $keys | int) -}}
{{- fail (printf "%s.replicas is %d, and network.validators has %d keys: two pods with one key fork the chain. Write %d, or make a network with more validators" $name $replicas $keys (max 1 $keys | int)) -}}
{{- end -}}
{{- if and (has $replicas (list 2 3)) (not $.Values.network.acceptNoFaultTolerance) -}}
{{- fail (printf "%s.replicas is %d, and QBFT goes on without one of its validators from 4 on only: write 1 or 4, or network.acceptNoFaultTolerance: true where this is meant" $name $replicas) -}}
{{- end -}}
{{- $quorum := div (add (mul 2 $keys) 2) 3 -}}
{{- if and $keys (gt $replicas 0) (lt $replicas $quorum) -}}
{{- fail (printf "%s.replicas is %d, and of the %d validators in network.validators %d are needed for a block: write at least %d" $name $replicas $keys $quorum $quorum) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.sequencer.enabled .Values.maru.enabled (ne (int .Values.sequencer.replicas) (int .Values.maru.replicas)) -}}
{{- fail (printf "sequencer.replicas is %d and maru.replicas %d: each Maru drives the sequencer of its own ordinal. Write the same number for both" (int .Values.sequencer.replicas) (int .Values.maru.replicas)) -}}
{{- end -}}
{{- if .Values.genesis.maru -}}
{{- $set := list -}}
{{- range $time, $fork := dig "config" dict (fromJson .Values.genesis.maru) -}}
{{- range dig "validatorSet" list $fork -}}
{{- $set = append $set (lower .) -}}
{{- end -}}
{{- end -}}
{{- range $i, $validator := .Values.network.validators -}}
{{- if not (has (lower $validator.address) $set) -}}
{{- fail (printf "network.validators.%d.address %s is in no validatorSet of genesis.maru: it would never make a block" $i $validator.address) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
