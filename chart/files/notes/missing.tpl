{{- /* Of what pods wait for, only what the cluster lacks. Here and not in templates/: Helm before 3.2 can't parse it. */ -}}
{{- $missing := list -}}
{{- range $need := .needs -}}
{{- $object := lookup "v1" $need.kind $.namespace $need.name -}}
{{- $data := default dict $object.data -}}
{{- $keys := list -}}
{{- range $key := $need.keys -}}
{{- if not (hasKey $data $key) -}}{{- $keys = append $keys $key -}}{{- end -}}
{{- end -}}
{{- if $keys -}}
{{- $missing = append $missing (merge (dict "keys" $keys "found" (not (empty $object))) $need) -}}
{{- end -}}
{{- end -}}
{{- include "linea-stack.needs" (dict "needs" $missing) -}}
