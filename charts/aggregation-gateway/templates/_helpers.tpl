{{/* The shipped configuration, or the one that was given. */}}
{{- define "gateway.config" -}}
{{- .Values.config | default (.Files.Get "files/gateway.yaml") -}}
{{- end }}

{{/* The name of the ConfigMap contains a hash, so that a change causes a rolling restart. */}}
{{- define "gateway.configMap" -}}
{{- printf "%s-config-%s" .Release.Name (include "gateway.config" . | sha256sum | trunc 10) -}}
{{- end }}

{{- define "gateway.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The name of the Secret of Redis; one of the chart's own contains a hash of its content. */}}
{{- define "gateway.redisSecret" -}}
{{- with .Values.redis -}}
{{- if .server.password -}}
{{- printf "%s-%s" .secretName (.server.password | sha256sum | trunc 10) -}}
{{- else -}}
{{- .secretName -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What selects the pods of the gateway. */}}
{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end }}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
{{ include "gateway.partOf" . }}
{{- end }}

{{- define "gateway.redisLabels" -}}
app.kubernetes.io/name: redis
{{- end }}

{{- define "gateway.partOf" -}}
app.kubernetes.io/part-of: aggregation-gateway
{{- end }}
