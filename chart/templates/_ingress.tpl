{{/*
Ingress of one host. Takes {component, suffix, entry, port, target, paths}: target is what linea-stack.albTarget takes;
where there are paths, only the root itself and what is below them is served.
*/}}
{{- define "linea-stack.ingress" -}}
{{- $root := .component.root -}}
{{- $alb := $root.Values.ingress.alb -}}
{{- $annotations := merge (deepCopy .entry.annotations) $root.Values.ingress.annotations -}}
{{- if $alb.enabled -}}
{{- $annotations = merge $annotations (fromYaml (include "linea-stack.albTarget" .target)) (fromYaml (include "linea-stack.albAnnotations" (dict "root" $root "suffix" .suffix))) -}}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "linea-stack.fullname" $root }}-{{ .suffix }}
  labels:
    {{- include "linea-stack.labels" .component | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with default (ternary "alb" "" $alb.enabled) $root.Values.ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .entry.tlsSecretName }}
  tls:
    - hosts: [{{ $.entry.host | quote }}]
      secretName: {{ . | quote }}
  {{- end }}
  rules:
    - host: {{ .entry.host | quote }}
      http:
        paths:
          {{- range $path := prepend (default list .paths) "/" }}
          - path: {{ $path }}
            pathType: {{ ternary "Exact" "Prefix" (and (eq $path "/") (hasKey $ "paths")) }}
            backend:
              service:
                name: {{ include "linea-stack.componentName" $.component }}
                port:
                  name: {{ $.port }}
          {{- end }}
{{- end -}}

{{/*
What all hosts share of one Application Load Balancer; the same on each, as the controller demands of a group. Only deletion
protection is on one of them, as an attribute may be: an Ingress that is deleted while it has the attribute stops the updates
of the whole group. Takes {root, suffix}.
https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/
*/}}
{{- define "linea-stack.albAnnotations" -}}
{{- $values := .root.Values -}}
{{- $alb := $values.ingress.alb -}}
{{- $attributes := dict "idle_timeout.timeout_seconds" ($alb.idleTimeoutSeconds | int | toString) "routing.http.drop_invalid_header_fields.enabled" "true" -}}
{{- $logs := $alb.accessLogs -}}
{{- if eq $logs.bucket "none" -}}
{{- $_ := set $attributes "access_logs.s3.enabled" "false" -}}
{{- else if $logs.bucket -}}
{{- $_ := set $attributes "access_logs.s3.enabled" "true" -}}
{{- $_ := set $attributes "access_logs.s3.bucket" $logs.bucket -}}
{{- if $logs.prefix -}}
{{- $_ := set $attributes "access_logs.s3.prefix" $logs.prefix -}}
{{- end -}}
{{- end -}}
{{- $first := ternary "besu-ws" "ethstats" (and $values.besu.enabled (ne $values.ingress.ws.host "")) -}}
{{- $first = ternary "besu-rpc" $first (and $values.besu.enabled (ne $values.ingress.rpc.host "")) -}}
{{- if and (ne (toString $alb.deletionProtection) "") (eq .suffix $first) -}}
{{- $_ := set $attributes "deletion_protection.enabled" (toString $alb.deletionProtection) -}}
{{- end -}}
alb.ingress.kubernetes.io/group.name: {{ default .root.Release.Namespace $alb.groupName | quote }}
alb.ingress.kubernetes.io/scheme: {{ $alb.scheme }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/listen-ports: '[{"HTTP": 80}, {"HTTPS": 443}]'
alb.ingress.kubernetes.io/ssl-redirect: "443"
alb.ingress.kubernetes.io/ssl-policy: {{ $alb.sslPolicy }}
{{- with $alb.certificateArns }}
alb.ingress.kubernetes.io/certificate-arn: {{ join "," . | quote }}
{{- end }}
{{- with $alb.inboundCidrs }}
alb.ingress.kubernetes.io/inbound-cidrs: {{ join "," . | quote }}
{{- end }}
{{- with $alb.wafAclArn }}
alb.ingress.kubernetes.io/wafv2-acl-arn: {{ . | quote }}
{{- end }}
alb.ingress.kubernetes.io/load-balancer-attributes: {{ include "linea-stack.stringMap" (merge (deepCopy $alb.attributes) $attributes) | quote }}
{{- end -}}

{{/* A map as the controller reads one in an annotation: k1=v1,k2=v2, in the order of the keys. */}}
{{- define "linea-stack.stringMap" -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/*
Health checks of Besu, on either of its ports: WebSocket answers none, so both ask JSON-RPC, as readiness does.
*/}}
{{- define "linea-stack.besuHealth" -}}
{{- $probe := default dict .Values.besu.readinessProbe -}}
{{ if eq (toString $probe.port) "rpc" }}{{ default "/liveness" $probe.path }}{{ else }}/liveness{{ end }}
{{- end -}}

{{/*
How the load balancer sees one target. A target is out of it within ten seconds of its first failure, and its
connections end before the pod does. Takes {path, port, attributes}.
*/}}
{{- define "linea-stack.albTarget" -}}
alb.ingress.kubernetes.io/healthcheck-path: {{ .path | quote }}
{{- with .port }}
alb.ingress.kubernetes.io/healthcheck-port: {{ . | quote }}
{{- end }}
alb.ingress.kubernetes.io/healthcheck-interval-seconds: "10"
alb.ingress.kubernetes.io/healthcheck-timeout-seconds: "5"
alb.ingress.kubernetes.io/healthy-threshold-count: "2"
alb.ingress.kubernetes.io/unhealthy-threshold-count: "2"
alb.ingress.kubernetes.io/success-codes: "200"
alb.ingress.kubernetes.io/target-group-attributes: {{ include "linea-stack.stringMap" .attributes | quote }}
{{- end -}}

{{/* Not empty if users log in before they see the dashboard. */}}
{{- define "linea-stack.ethstatsOidc" -}}
{{- $ingress := .Values.ingress -}}
{{- if and .Values.ethstats.enabled $ingress.enabled $ingress.alb.enabled $ingress.ethstats.host $ingress.ethstats.oidc.issuer -}}
true
{{- end -}}
{{- end -}}

{{/*
Login at the load balancer, by the values of a provider of OpenID Connect. The controller reads clientID and clientSecret
of the Secret. https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/#authentication
*/}}
{{- define "linea-stack.oidcAnnotations" -}}
{{- $provider := dict "issuer" .issuer "authorizationEndpoint" .authorizationEndpoint "tokenEndpoint" .tokenEndpoint "userInfoEndpoint" .userInfoEndpoint "secretName" .secretName -}}
alb.ingress.kubernetes.io/auth-type: oidc
alb.ingress.kubernetes.io/auth-idp-oidc: {{ toJson $provider | quote }}
alb.ingress.kubernetes.io/auth-on-unauthenticated-request: authenticate
alb.ingress.kubernetes.io/auth-scope: {{ .scope | quote }}
alb.ingress.kubernetes.io/auth-session-timeout: {{ .sessionTimeoutSeconds | int | quote }}
{{- end -}}
