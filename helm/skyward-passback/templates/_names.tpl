{{- define "passback.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 52 characters leave room for what StatefulSets and our own suffixes add. */}}
{{- define "passback.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "passback.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "passback.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "passback.selectorLabels" -}}
app.kubernetes.io/name: {{ include "passback.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The daemon's pods alone: the pod of `helm test` is none of them. */}}
{{- define "passback.daemonLabels" -}}
{{ include "passback.selectorLabels" . }}
app.kubernetes.io/component: daemon
{{- end -}}

{{- define "passback.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "passback.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "passback.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "passback.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "passback.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the process's own credentials, whichever of the three ways it comes. */}}
{{- define "passback.credentialsSecret" -}}
{{- .Values.credentials.existingSecret.name | default (printf "%s-credentials" (include "passback.fullname" .)) -}}
{{- end -}}

{{- define "passback.districtCredentialsSecret" -}}
{{- .Values.districts.credentials.existingSecret | default (printf "%s-district-credentials" (include "passback.fullname" .)) -}}
{{- end -}}

{{/* The names of the keys in that Secret; those of an existing one are the operator's. */}}
{{- define "passback.credentialsKeys" -}}
{{- if .Values.credentials.existingSecret.name -}}
{{- toYaml .Values.credentials.existingSecret.keys -}}
{{- else -}}
databaseUrl: database-url
sealingKey: sealing.key
kafkaPassword: kafka-password
{{- end -}}
{{- end -}}

{{- define "passback.sasl" -}}
{{- if hasPrefix "SASL" .Values.kafka.securityProtocol }}true{{ end -}}
{{- end -}}

{{- define "passback.tls" -}}
{{- if hasSuffix "SSL" .Values.kafka.securityProtocol }}true{{ end -}}
{{- end -}}

{{/* What KEDA's scaler has to be told beside the trigger: a user, or an authority; TLS alone is neither. */}}
{{- define "passback.kedaAuthenticates" -}}
{{- if or (include "passback.sasl" .) .Values.kafka.ca.configMap .Values.kafka.ca.secret }}true{{ end -}}
{{- end -}}

{{/* A duration such as 1m30s in milliseconds. */}}
{{- define "passback.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $sum = add $sum (mul (regexFind "[0-9]+" . | atoi) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{- define "passback.autoscaled" -}}
{{- if or .Values.autoscaling.keda.enabled .Values.autoscaling.horizontal.enabled }}true{{ end -}}
{{- end -}}
