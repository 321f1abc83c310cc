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
write, nodes that restore a backup read, and all others have none.
https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html
*/}}
{{- define "linea-stack.roleAnnotation" -}}
{{- $aws := .root.Values.aws -}}
{{- if eq $aws.identity "irsa" -}}
{{- $role := "" -}}
{{- if eq .name "backup" -}}
{{- $role = $aws.backupRoleArn -}}
{{- else if and .root.Values.restore.backup (has .name (list "sequencer" "maru" "besu")) -}}
{{- $role = $aws.restoreRoleArn -}}
{{- end -}}
{{- with $role -}}
eks.amazonaws.com/role-arn: {{ . | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The init container that fetches a backup into a node's empty volume, where the values name one.
Takes {component, parts}: the folders that the volume has.
*/}}
{{- define "linea-stack.restoreContainer" -}}
{{- $root := .component.root -}}
{{- if $root.Values.restore.backup -}}
{{- if not $root.Values.backup.storage.bucket -}}
{{- fail "restore.backup is set, but backup.storage.bucket is empty. Set backup.storage.bucket to the bucket that has this backup" -}}
{{- end -}}
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
  {{- include "linea-stack.s3Env" (dict "root" $root "prefix" (default $backup.storage.prefix $root.Values.restore.prefix) "secretName" (default $backup.secretName $root.Values.restore.secretName)) | nindent 2 }}
  {{- with $backup.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml $backup.resources | nindent 2 }}
volumeMounts:
  - {name: restore-script, mountPath: /scripts, readOnly: true}
  - {name: data, mountPath: /target}
  - {name: restore-tmp, mountPath: /tmp}
{{- end -}}
{{- end -}}

{{- define "linea-stack.restoreVolumes" -}}
{{- if .Values.restore.backup -}}
- name: restore-script
  configMap:
    name: {{ include "linea-stack.fullname" . }}-restore-script
- name: restore-tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end -}}
{{- end -}}
