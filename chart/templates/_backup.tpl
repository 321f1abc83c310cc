{{/*
Which chain it is: its id, and a sum of what makes its first block. A fork that is added later changes nothing. Empty
where the values don't have the genesis.
*/}}
{{- define "linea-stack.chain" -}}
{{- with .Values.genesis.besu -}}
{{- $genesis := fromJson (lower .) -}}
{{- $config := $genesis.config | kindIs "map" | ternary $genesis.config dict -}}
{{- printf "%v-%s" (int64 $config.chainid) (omit $genesis "config" | toJson | sha256sum | trunc 16) -}}
{{- end -}}
{{- end -}}

{{/*
Environment of the scripts that use S3: the bucket, and rclone's remote "s3" (https://rclone.org/docs/#config-file).
Takes {root, prefix, secretName}.
*/}}
{{- define "linea-stack.s3Env" -}}
{{- $backup := .root.Values.backup -}}
- name: BUCKET
  value: {{ $backup.storage.bucket | quote }}
- name: PREFIX
  value: {{ default (printf "%s/%s" .root.Release.Namespace (include "linea-stack.fullname" .root)) .prefix | quote }}
- {name: RCLONE_CONFIG_S3_TYPE, value: s3}
- {name: RCLONE_CONFIG_S3_PROVIDER, value: {{ ternary "Other" "AWS" (not (empty $backup.storage.endpoint)) }}}
- {name: RCLONE_CONFIG_S3_ENV_AUTH, value: "true"}
- name: RCLONE_CONFIG_S3_REGION
  value: {{ $backup.storage.region | quote }}
{{- with $backup.storage.endpoint }}
- name: RCLONE_CONFIG_S3_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with include "linea-stack.chain" .root }}
- name: CHAIN
  value: {{ . | quote }}
{{- end }}
- {name: HOME, value: /tmp}
{{- if and .secretName (eq .root.Values.aws.identity "none") }}
{{- $secretName := .secretName }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ $secretName | quote }}, key: AWS_ACCESS_KEY_ID}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ $secretName | quote }}, key: AWS_SECRET_ACCESS_KEY}
{{- end }}
{{- end -}}

{{/*
The IAM role of a component's pods, as an annotation of their service account, where that gives them one: backups
write, nodes that restore a backup and the drill read, and all others have none.
https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html
*/}}
{{- define "linea-stack.roleAnnotation" -}}
{{- $aws := .root.Values.aws -}}
{{- if eq $aws.identity "irsa" -}}
{{- $role := "" -}}
{{- if eq .name "backup" -}}
{{- $role = $aws.backupRoleArn -}}
{{- else if or (eq .name "restore-drill") (include "linea-stack.restores" .) -}}
{{- $role = $aws.restoreRoleArn -}}
{{- end -}}
{{- with $role -}}
eks.amazonaws.com/role-arn: {{ . | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Whether a component's pods fetch a backup into an empty volume. A backup that is named is for all nodes: it takes the
chain back. The latest is for followers only, which then get the blocks that came after it from the validators; those
never go back by themselves.
*/}}
{{- define "linea-stack.restores" -}}
{{- $nodes := eq .root.Values.restore.backup "latest" | ternary (list "besu") (list "sequencer" "maru" "besu") -}}
{{- if and .root.Values.restore.backup (has .name $nodes) -}}true{{- end -}}
{{- end -}}

{{/* Fails where there is no bucket for something that reads backups. Takes {root, value}: what asks for it. */}}
{{- define "linea-stack.checkBucket" -}}
{{- if not .root.Values.backup.storage.bucket -}}
{{- fail (printf "%s is set, but backup.storage.bucket is empty. Set backup.storage.bucket to the bucket that has this backup" .value) -}}
{{- end -}}
{{- end -}}

{{/* What else the script needs that restores: where the backup is, and who may read it. Takes the chart's context. */}}
{{- define "linea-stack.restoreEnv" -}}
{{- $backup := .Values.backup -}}
{{- include "linea-stack.s3Env" (dict "root" . "prefix" (default $backup.storage.prefix .Values.restore.prefix) "secretName" (default $backup.secretName .Values.restore.secretName)) }}
{{- with $backup.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The init container that fetches a backup into a node's empty volume, where the values ask for it.
Takes {component, parts}: the folders that the volume has.
*/}}
{{- define "linea-stack.restoreContainer" -}}
{{- $root := .component.root -}}
{{- if include "linea-stack.restores" .component -}}
{{- include "linea-stack.checkBucket" (dict "root" $root "value" "restore.backup") -}}
{{- $backup := $root.Values.backup -}}
name: restore
image: {{ include "linea-stack.image" $backup.image }}
imagePullPolicy: {{ $backup.image.pullPolicy }}
securityContext:
  {{- include "linea-stack.containerSecurityContext" .component | nindent 2 }}
command: [/bin/sh, /scripts/restore.sh]
env:
  - name: BACKUP
    value: {{ $root.Values.restore.backup | quote }}
  - {name: PARTS, value: {{ .parts }}}
  - {name: TARGET_DIR, value: /target}
  {{- include "linea-stack.restoreEnv" $root | nindent 2 }}
resources:
  {{- toYaml $backup.resources | nindent 2 }}
volumeMounts:
  - {name: restore-script, mountPath: /scripts, readOnly: true}
  - {name: data, mountPath: /target}
  - {name: restore-tmp, mountPath: /tmp}
  {{- with $backup.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Takes a component. */}}
{{- define "linea-stack.restoreVolumes" -}}
{{- if include "linea-stack.restores" . -}}
- name: restore-script
  configMap:
    name: {{ include "linea-stack.fullname" .root }}-restore-script
- name: restore-tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .root.Values.backup.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/*
The claim for a copy of besu's volume, as linea-stack.volumeClaimSpec takes it. A clone that asks for less than the claim
it copies is never made.
*/}}
{{- define "linea-stack.copyOfBesu" -}}
{{- $source := .Values.backup.source -}}
{{- $own := dict "storageClassName" (default .Values.besu.persistence.storageClassName $source.storageClassName) -}}
{{- merge $own (dict "size" (default .Values.besu.persistence.size $source.size)) .Values.besu.persistence | toYaml -}}
{{- end -}}
