{{/* The name of everything: the release's, with "ditto" in it. */}}
{{- define "ditto.name" -}}
{{- if contains "ditto" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-ditto" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods; never changes for a release. */}}
{{- define "ditto.selector" -}}
app.kubernetes.io/name: ditto-serve
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of every object. */}}
{{- define "ditto.labels" -}}
{{ include "ditto.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "ditto.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ditto.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* server.yaml: the values, with what the chart itself decides. */}}
{{- define "ditto.config" -}}
{{- $http := dict "listen" (printf ":%d" (int .Values.port)) -}}
{{- if .Values.tls.secretName -}}
{{- $_ := set $http "tls" (dict "cert" "/etc/ditto/tls/tls.crt" "key" "/etc/ditto/tls/tls.key") -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) (dict "http" $http)) -}}
{{- end -}}

{{- define "ditto.scheme" -}}
{{- ternary "HTTPS" "HTTP" (not (empty .Values.tls.secretName)) -}}
{{- end -}}
