{{/* Name of the chart, at most 63 characters. */}}
{{- define "qlik-context-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Full name: the release's, with the chart's unless it is in there already. */}}
{{- define "qlik-context-operator.fullname" -}}
{{- $name := include "qlik-context-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "qlik-context-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "qlik-context-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "qlik-context-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "qlik-context-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: qlik-context-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "qlik-context-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "qlik-context-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "qlik-context-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/*
Full name with an ending, within 63 characters: (dict "context" $ "ending" "leader-election").
*/}}
{{- define "qlik-context-operator.suffixed" -}}
{{- $room := sub 62 (len .ending) | int }}
{{- printf "%s-%s" (include "qlik-context-operator.fullname" .context | trunc $room | trimSuffix "-") .ending }}
{{- end }}

{{/*
Name of what stands where releases of other namespaces stand, too. The colon is in no namespace's name, so two releases
never share it.
*/}}
{{- define "qlik-context-operator.rbacName" -}}
{{- printf "%s:%s" .Release.Namespace (include "qlik-context-operator.fullname" .) }}
{{- end }}
