{{/* Name of the chart, at most 63 characters. */}}
{{- define "qlik-context-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Full name: the name of the release, followed by the name of the chart unless it already contains that. */}}
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

{{/*
Full name with an ending, within 63 characters: (dict "context" $ "ending" "leader-election").
*/}}
{{- define "qlik-context-operator.suffixed" -}}
{{- $room := sub 62 (len .ending) | int }}
{{- printf "%s-%s" (include "qlik-context-operator.fullname" .context | trunc $room | trimSuffix "-") .ending }}
{{- end }}

{{/*
Name of objects that can share a namespace with those of other releases. The name of a namespace contains no colon, so the names of
two releases never collide.
*/}}
{{- define "qlik-context-operator.rbacName" -}}
{{- printf "%s:%s" .Release.Namespace (include "qlik-context-operator.fullname" .) }}
{{- end }}

{{/* Labels that never change during the life of a release, because the selector of a Deployment is immutable. */}}
{{- define "qlik-context-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "qlik-context-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of every object. A label of the user never replaces one of ours and is never repeated. */}}
{{- define "qlik-context-operator.labels" -}}
{{- include "qlik-context-operator.labelsWith" (dict "context" . "more" dict) }}
{{- end }}

{{/*
The same with additional labels: (dict "context" $ "more" .Values.podLabels).
*/}}
{{- define "qlik-context-operator.labelsWith" -}}
{{- $ours := include "qlik-context-operator.selectorLabels" .context | fromYaml }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $ours "app.kubernetes.io/version" .context.Chart.AppVersion }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "qlik-context-operator" }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .context.Release.Service }}
{{- merge $ours .more .context.Values.commonLabels | toYaml }}
{{- end }}

{{- define "qlik-context-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "qlik-context-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- /* Never the ServiceAccount "default": every Pod of the namespace would get the operator's permissions. */}}
{{- required "serviceAccount.name: name the account to use, since serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "qlik-context-operator.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry }}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{/* The volume with the CA certificates for tenants, or nothing. */}}
{{- define "qlik-context-operator.tenantCA" -}}
{{- if .Values.tenantCA.configMap.name }}
name: tenant-ca
configMap:
  name: {{ .Values.tenantCA.configMap.name }}
  items: [{key: {{ .Values.tenantCA.configMap.key | quote }}, path: ca.crt}]
{{- else if .Values.tenantCA.secret.name }}
name: tenant-ca
secret:
  secretName: {{ .Values.tenantCA.secret.name }}
  items: [{key: {{ .Values.tenantCA.secret.key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}

{{/* Whether to extend the cluster's default roles: the value if it is set, otherwise true if the operator watches all namespaces. */}}
{{- define "qlik-context-operator.aggregates" -}}
{{- if kindIs "bool" .wish }}{{ .wish }}{{ else }}{{ empty .context.Values.watchNamespaces }}{{ end }}
{{- end }}
