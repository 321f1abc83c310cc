{{/*
The pod that verifies a chain, for helm test and for Argo CD after a sync: as any client, through the Service of Besu, and
with no other right. Its image, resources and place are those of the TX Sender, whose cast it runs.
*/}}
{{- define "linea-stack.verifyPod" -}}
{{- $sender := .Values.txSender -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $sender.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $sender.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $sender.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext:
  {{- include "linea-stack.podSecurityContext" . | nindent 2 }}
containers:
  - name: verify
    image: {{ include "linea-stack.image" $sender.image }}
    imagePullPolicy: {{ $sender.image.pullPolicy }}
    securityContext:
      {{- include "linea-stack.containerSecurityContext" . | nindent 6 }}
    command: [/bin/sh, -c]
    args:
      - |
        {{- .Files.Get "files/tests/verify.sh" | nindent 8 }}
    env:
      - name: RPC_URL
        value: http://{{ include "linea-stack.fullname" . }}-besu:8545
      - name: WS_URL
        value: ws://{{ include "linea-stack.fullname" . }}-besu:8546
      - name: CHAIN_ID
        value: {{ include "linea-stack.chain" . | splitList "-" | first | quote }}
      # The script gives up before the Job is stopped, so that its log has the reason.
      - name: WAIT_SECONDS
        value: {{ sub (int .Values.verify.timeoutSeconds) 30 | quote }}
      - name: EXPECT_BLOCKS
        value: {{ include "linea-stack.expectsBlocks" . | quote }}
      - {name: HOME, value: /tmp}
    resources:
      {{- toYaml $sender.resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 16Mi
{{- end -}}

{{/* "true" where a block is due while the chain is verified: an empty one, or one with a transfer of the TX Sender. */}}
{{- define "linea-stack.expectsBlocks" -}}
{{- $sender := .Values.txSender -}}
{{- $sends := and $sender.enabled (has $sender.rpc.service (list "besu" "sequencer")) (lt (int $sender.interval) (int (sub (int .Values.verify.timeoutSeconds) 60))) -}}
{{- or (and .Values.maru.enabled .Values.maru.allowEmptyBlocks) $sends | ternary "true" "false" -}}
{{- end -}}

{{/* Let the pod reach the JSON-RPC and the WebSocket of Besu: the spec of the policy of each end. */}}
{{- define "linea-stack.verifyIngress" -}}
podSelector:
  matchLabels:
    {{- include "linea-stack.selectorLabels" (dict "root" . "name" "besu") | nindent 4 }}
policyTypes: [Ingress]
ingress:
  - from:
      - podSelector:
          matchLabels:
            {{- include "linea-stack.testLabels" . | nindent 12 }}
    ports:
      - {port: 8545, protocol: TCP}
      - {port: 8546, protocol: TCP}
{{- end -}}

{{- define "linea-stack.verifyEgress" -}}
podSelector:
  matchLabels:
    {{- include "linea-stack.testLabels" . | nindent 4 }}
policyTypes: [Ingress, Egress]
egress:
  - to:
      - {{- include "linea-stack.peer" (dict "root" . "name" "besu") | nindent 8 }}
    ports:
      - {port: 8545, protocol: TCP}
      - {port: 8546, protocol: TCP}
  {{- include "linea-stack.dnsEgress" . | nindent 2 }}
{{- end -}}
