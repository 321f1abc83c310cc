{{/* Besu's own option for the level of its log, unless it is Besu's default. Takes {level, format}. */}}
{{- define "linea-stack.besuLogLevel" -}}
{{- if ne .level "INFO" }}
logging = {{ .level | quote }}
{{- end }}
{{- end -}}

{{/* Maru's configuration of Log4j. Takes {root, log}. */}}
{{- define "linea-stack.maruLog" -}}
{{- $file := eq .log.format "json" | ternary "files/maru/log4j2-json.xml" "files/maru/log4j2.xml" -}}
{{- .root.Files.Get $file | replace "level=\"INFO\"" (printf "level=%q" .log.level) -}}
{{- end -}}
