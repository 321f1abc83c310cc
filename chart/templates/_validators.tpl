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

{{/* The pod of sequencer or maru with the ordinal of another, as synced.sh takes it. Takes {root, name}. */}}
{{- define "linea-stack.pairHost" -}}
{{- $name := include "linea-stack.componentName" . -}}
{{ $name }}-N.{{ $name }}
{{- end -}}

{{/* Enodes of the sequencers, as JSON: https://besu.hyperledger.org/public-networks/how-to/connect/static-nodes */}}
{{- define "linea-stack.staticNodes" -}}
{{- $nodes := list -}}
{{- if .Values.sequencer.enabled -}}
{{- range $i, $host := splitList " " (include "linea-stack.podHosts" (dict "root" . "name" "sequencer")) -}}
{{- if lt $i (len $.Values.network.validators) -}}
{{- $nodes = append $nodes (printf "enode://%s@%s:30303" (index $.Values.network.validators $i).nodeId $host) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toPrettyJson $nodes -}}
{{- end -}}

{{/*
What all Marus of a network share, as TOML. The peers are the validators, by multiaddress; a validator skips itself
(addStaticPeer in P2PNetworkImpl.kt).
*/}}
{{- define "linea-stack.maruNetwork" -}}
allow-empty-blocks = {{ .Values.maru.allowEmptyBlocks }}

[p2p]
static-peers = [
{{- if .Values.maru.enabled }}
{{- range $i, $host := splitList " " (include "linea-stack.podHosts" (dict "root" . "name" "maru")) }}
{{- if lt $i (len $.Values.network.validators) }}
  "/dns4/{{ $host }}/tcp/9000/p2p/{{ (index $.Values.network.validators $i).peerId }}",
{{- end }}
{{- end }}
{{- end }}
]
{{- end -}}

{{/*
How many of the validators a block needs: two thirds, rounded up (calculateRequiredValidatorQuorum in Besu's
BftHelpers.java). Two thirds of all validators, not only of the pods: some may be missing.
*/}}
{{- define "linea-stack.quorum" -}}
{{ div (add (mul 2 (len .Values.network.validators)) 2) 3 }}
{{- end -}}

{{/*
How many validators a Maru has to be connected to before it counts as ready, for synced.sh: with itself the validators
are as many as a block needs; a follower gets its blocks from one. Takes {root, follower}.
*/}}
{{- define "linea-stack.peersWanted" -}}
{{- if not (and .root.Values.maru.enabled .root.Values.network.validators) -}}
0
{{- else if .follower -}}
1
{{- else -}}
{{ sub (include "linea-stack.quorum" .root | int) 1 }}
{{- end -}}
{{- end -}}

{{/* The volume with one key a pod, each in a file that has the pod's name. Takes {component, secretName}. */}}
{{- define "linea-stack.keyVolume" -}}
secret:
  secretName: {{ .secretName | quote }}
  defaultMode: 288 # 0440
  items:
    {{- $name := include "linea-stack.componentName" .component }}
    {{- $keys := splitList " " (include "linea-stack.keyNames" .component.values.replicas) }}
    {{- range $i := until (int .component.values.replicas) }}
    - {key: {{ index $keys $i }}, path: {{ printf "%s-%d" $name $i }}}
    {{- end }}
{{- end -}}

{{/* Names of the keys in a Secret for this number of pods, separated by spaces. */}}
{{- define "linea-stack.keyNames" -}}
key{{ range $i := until (int .) }}{{ if $i }} key-{{ $i }}{{ end }}{{ end }}
{{- end -}}

{{/* Fails on numbers of validators that would make no block, would fork, or would tolerate no fault. */}}
{{- define "linea-stack.checkValidators" -}}
{{- if and .Values.maru.enabled (not .Values.sequencer.enabled) -}}
{{- fail "maru.enabled is true, but sequencer.enabled is false: each Maru drives a sequencer. Write sequencer.enabled: true, or maru.enabled: false if there are no validators in this release" -}}
{{- end -}}
{{- if and .Values.maru.enabled (ne (int .Values.sequencer.replicas) (int .Values.maru.replicas)) -}}
{{- fail (printf "sequencer.replicas is %d, but maru.replicas is %d: each Maru drives the sequencer of its own ordinal. Write the same number for both, one for each of network.validators" (int .Values.sequencer.replicas) (int .Values.maru.replicas)) -}}
{{- end -}}
{{- $replicas := int .Values.sequencer.replicas -}}
{{- $keys := len .Values.network.validators -}}
{{- if and (gt $replicas 1) (not $keys) -}}
{{- fail (printf "sequencer.replicas is %d, but network.validators is empty: these validators have no keys. Run nox -s network in this repository, which creates them, or write 1 for sequencer.replicas and maru.replicas" $replicas) -}}
{{- end -}}
{{- if gt $replicas (max 1 $keys | int) -}}
{{- fail (printf "sequencer.replicas is %d, but network.validators has %d: two pods with one key would fork the chain. Write %d for sequencer.replicas and maru.replicas; more validators need a new chain (docs/network.md)" $replicas $keys $keys) -}}
{{- end -}}
{{- if and (has $replicas (list 2 3)) (not .Values.network.acceptNoFaultTolerance) -}}
{{- fail (printf "sequencer.replicas is %d: with 2, blocks stop as soon as one validator stops; with 3, one may stop, but none may be faulty. Write 1, or 4 or more, for sequencer.replicas and maru.replicas; to accept the risk, write network.acceptNoFaultTolerance: true" $replicas) -}}
{{- end -}}
{{- $quorum := include "linea-stack.quorum" . | int -}}
{{- if and $keys (lt $replicas $quorum) -}}
{{- fail (printf "sequencer.replicas is %d, but of the %d network.validators %d are needed for a block: the chain would stop. Write %d for sequencer.replicas and maru.replicas" $replicas $keys $quorum $keys) -}}
{{- end -}}
{{- if .Values.genesis.maru -}}
{{- $set := list -}}
{{- range $time, $fork := default dict (get (fromJson .Values.genesis.maru) "config") -}}
{{- range default list (get $fork "validatorSet") -}}
{{- $set = append $set (lower .) -}}
{{- end -}}
{{- end -}}
{{- range $i, $validator := .Values.network.validators -}}
{{- if not (has (lower $validator.address) $set) -}}
{{- fail (printf "network.validators.%d.address %s is in no validatorSet of genesis.maru: this validator would never make a block. Restore network.yaml from git, or write an address that genesis.maru has" $i $validator.address) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
