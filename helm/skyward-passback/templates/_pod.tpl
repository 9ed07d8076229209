{{/* What the daemon, its init containers and the test pod have in common. */}}

{{- define "passback.ownEnv" -}}
- name: PASSBACK_DATABASE_URL_FILE
  value: /etc/passback/credentials/database-url
- name: PASSBACK_SEALING_KEY_FILE
  value: /etc/passback/credentials/sealing.key
- name: PASSBACK_KAFKA_BOOTSTRAP_SERVERS
  value: {{ join "," .Values.kafka.bootstrapServers | quote }}
- name: PASSBACK_KAFKA_GROUP_ID
  value: {{ .Values.kafka.groupId | quote }}
{{- if .Values.kafka.start }}
- name: PASSBACK_KAFKA_START
  value: {{ .Values.kafka.start | quote }}
{{- end }}
- name: PASSBACK_KAFKA_TOPIC_PREFIX
  value: {{ .Values.kafka.topicPrefix | quote }}
- name: PASSBACK_KAFKA_SECURITY_PROTOCOL
  value: {{ .Values.kafka.securityProtocol | quote }}
{{- if include "passback.sasl" . }}
- name: PASSBACK_KAFKA_SASL_MECHANISM
  value: {{ .Values.kafka.sasl.mechanism | quote }}
- name: PASSBACK_KAFKA_SASL_USERNAME
  value: {{ .Values.kafka.sasl.username | quote }}
- name: PASSBACK_KAFKA_SASL_PASSWORD_FILE
  value: /etc/passback/credentials/kafka-password
{{- end }}
{{- if or .Values.kafka.ca.configMap .Values.kafka.ca.secret }}
- name: PASSBACK_KAFKA_SSL_CA_FILE
  value: /etc/passback/kafka-ca/ca.crt
{{- end }}
- name: PASSBACK_HTTP_PORT
  value: {{ .Values.daemon.httpPort | quote }}
- name: PASSBACK_LOG_LEVEL
  value: {{ .Values.daemon.logLevel | quote }}
- name: PASSBACK_LOG_FORMAT
  value: {{ .Values.daemon.logFormat | quote }}
- name: PASSBACK_MAX_CONCURRENT_DISTRICTS
  value: {{ .Values.daemon.maxConcurrentDistricts | int | quote }}
- name: PASSBACK_CUTOFF_JITTER_SECONDS
  value: {{ .Values.daemon.cutoffJitterSeconds | int | quote }}
- name: PASSBACK_INTAKE_WAIT_SECONDS
  value: {{ .Values.daemon.intakeWaitSeconds | int | quote }}
- name: PASSBACK_RUN_WINDOW_SECONDS
  value: {{ .Values.daemon.runWindowSeconds | int | quote }}
- name: PASSBACK_RETENTION_DAYS
  value: {{ .Values.daemon.retentionDays | int | quote }}
- name: PASSBACK_DISTRICT_METRICS
  value: {{ .Values.daemon.districtMetrics | quote }}
{{- if .Values.daemon.tracesTo }}
- name: PASSBACK_TRACING
  value: "true"
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.daemon.tracesTo | quote }}
{{- end }}
{{- if .Values.daemon.allowedNetworks }}
- name: PASSBACK_ALLOWED_NETWORKS
  value: {{ join "," .Values.daemon.allowedNetworks | quote }}
{{- end }}
{{- if .Values.daemon.allowHttp }}
- name: PASSBACK_ALLOW_HTTP
  value: "true"
{{- end }}
{{- end -}}

{{- define "passback.env" -}}
{{ include "passback.ownEnv" . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "passback.volumeMounts" -}}
- name: credentials
  mountPath: /etc/passback/credentials
  readOnly: true
{{- if .Values.districts.enabled }}
- name: districts
  mountPath: /etc/passback/districts
  readOnly: true
{{- end }}
{{- if or .Values.kafka.ca.configMap .Values.kafka.ca.secret }}
- name: kafka-ca
  mountPath: /etc/passback/kafka-ca
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "passback.volumes" -}}
{{- $keys := include "passback.credentialsKeys" . | fromYaml -}}
- name: credentials
  secret:
    secretName: {{ include "passback.credentialsSecret" . | quote }}
    defaultMode: 0440
    items:
      - key: {{ $keys.databaseUrl | quote }}
        path: database-url
      - key: {{ $keys.sealingKey | quote }}
        path: sealing.key
      {{- if include "passback.sasl" . }}
      - key: {{ $keys.kafkaPassword | quote }}
        path: kafka-password
      {{- end }}
{{- if .Values.districts.enabled }}
- name: districts
  projected:
    defaultMode: 0440
    sources:
      {{- if .Values.districts.files }}
      - configMap:
          name: {{ include "passback.fullname" . }}-districts
      {{- end }}
      {{- range .Values.districts.configMaps }}
      - configMap:
          name: {{ . | quote }}
      {{- end }}
      {{- range .Values.districts.secrets }}
      - secret:
          name: {{ . | quote }}
      {{- end }}
      - secret:
          name: {{ include "passback.districtCredentialsSecret" . | quote }}
{{- end }}
{{- if .Values.kafka.ca.configMap }}
- name: kafka-ca
  configMap:
    name: {{ .Values.kafka.ca.configMap | quote }}
    items:
      - key: {{ .Values.kafka.ca.key | quote }}
        path: ca.crt
{{- else if .Values.kafka.ca.secret }}
- name: kafka-ca
  secret:
    secretName: {{ .Values.kafka.ca.secret | quote }}
    defaultMode: 0440
    items:
      - key: {{ .Values.kafka.ca.key | quote }}
        path: ca.crt
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "passback.container" -}}
image: {{ include "passback.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  requests:
    cpu: {{ .Values.resources.requests.cpu | quote }}
    memory: {{ .Values.resources.memory | quote }}
  limits:
    memory: {{ .Values.resources.memory | quote }}
{{- end -}}

{{- define "passback.podDefaults" -}}
serviceAccountName: {{ include "passback.serviceAccount" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The daemon's pod, the same in a Deployment and a StatefulSet. */}}
{{- define "passback.podTemplate" -}}
{{- $stateful := eq .Values.workload.kind "StatefulSet" -}}
metadata:
  labels:
    {{- include "passback.labels" . | nindent 4 }}
    app.kubernetes.io/component: daemon
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: passback
    {{- if .Values.districts.enabled }}
    checksum/districts: {{ include (print $.Template.BasePath "/districts.yaml") . | sha256sum }}
    {{- end }}
    checksum/credentials: {{ include (print $.Template.BasePath "/credentials.yaml") . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "passback.podDefaults" . | nindent 2 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.workload.terminationGracePeriodSeconds }}
  {{- if .Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "passback.daemonLabels" $ | nindent 10 }}
      matchLabelKeys: [{{ if $stateful }}controller-revision-hash{{ else }}pod-template-hash{{ end }}]
    {{- end }}
  {{- end }}
  {{- if or .Values.migration.enabled .Values.districts.enabled }}
  initContainers:
    {{- if .Values.migration.enabled }}
    - name: migrate
      args: [migrate]
      {{- include "passback.container" . | nindent 6 }}
      env:
        {{- include "passback.env" . | nindent 8 }}
      volumeMounts:
        {{- include "passback.volumeMounts" . | nindent 8 }}
    {{- end }}
    {{- if .Values.districts.enabled }}
    - name: districts
      args: [district, apply, /etc/passback/districts]
      {{- include "passback.container" . | nindent 6 }}
      env:
        {{- include "passback.env" . | nindent 8 }}
      volumeMounts:
        {{- include "passback.volumeMounts" . | nindent 8 }}
    {{- end }}
  {{- end }}
  containers:
    - name: passback
      args: [run]
      {{- include "passback.container" . | nindent 6 }}
      env:
        {{- include "passback.env" . | nindent 8 }}
        {{- if $stateful }}
        # The ordinal's name stays over a restart: Kafka keeps its partitions for it for 30 s.
        - name: PASSBACK_KAFKA_GROUP_INSTANCE_ID
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
      ports:
        - name: http
          containerPort: {{ .Values.daemon.httpPort }}
      startupProbe:
        httpGet:
          path: /startupz
          port: http
        periodSeconds: {{ .Values.probes.startup.periodSeconds }}
        failureThreshold: {{ .Values.probes.startup.failureThreshold }}
      livenessProbe:
        httpGet:
          path: /livez
          port: http
        periodSeconds: {{ .Values.probes.liveness.periodSeconds }}
        timeoutSeconds: {{ .Values.probes.liveness.timeoutSeconds }}
        failureThreshold: {{ .Values.probes.liveness.failureThreshold }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
        periodSeconds: {{ .Values.probes.readiness.periodSeconds }}
        timeoutSeconds: {{ .Values.probes.readiness.timeoutSeconds }}
        failureThreshold: {{ .Values.probes.readiness.failureThreshold }}
      volumeMounts:
        {{- include "passback.volumeMounts" . | nindent 8 }}
  volumes:
    {{- include "passback.volumes" . | nindent 4 }}
{{- end -}}
