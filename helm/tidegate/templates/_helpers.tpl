{{- define "tidegate.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.labels" -}}
app.kubernetes.io/name: tidegate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: tidegate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end -}}

{{- define "tidegate.image" -}}
{{- $tag := .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- $image := ternary "cli" .service (eq .service "doctor") -}}
{{- printf "%s/%s%s%s" .root.Values.image.repository $image (ternary "@" ":" (hasPrefix "sha256:" $tag)) $tag -}}
{{- end -}}

{{/* The secret with a service's Kafka credentials: its own, or the one for all. */}}
{{- define "tidegate.kafkaSecret" -}}
{{- $own := "" -}}
{{- if eq .service "cli" }}{{ $own = .root.Values.hooks.kafkaSecret -}}
{{- else if eq .service "doctor" }}{{ $own = .root.Values.doctor.kafkaSecret -}}
{{- else }}{{ $own = (get .root.Values.services .service).kafkaSecret }}{{ end -}}
{{- $own | default .root.Values.kafka.existingSecret -}}
{{- end -}}

{{/* Whether there is a solver; empty where there is none. Values of an older chart have no switch. */}}
{{- define "tidegate.solver" -}}
{{- if ne (toString .Values.services.solver.enabled) "false" }}true{{ end -}}
{{- end -}}

{{/* Whether a pod is given the accounts at solving services; empty where it is not. */}}
{{- define "tidegate.solves" -}}
{{- if has .service (list "solver" "doctor") }}{{ include "tidegate.solver" .root }}{{ end -}}
{{- end -}}

{{/* One of a service's settings, in whatever case it is written; empty where it is not there. */}}
{{- define "tidegate.setting" -}}
{{- range $key, $value := .settings }}{{ if eq (upper $key) $.name }}{{ $value }}{{ end }}{{ end -}}
{{- end -}}

{{/* Restricted pod security. */}}
{{- define "tidegate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tidegate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A number as it was written: Helm reads it as a float and would print 3.3554432e+07. */}}
{{- define "tidegate.scalar" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/* Plain settings, as variables. Secrets are files. */}}
{{- define "tidegate.environment" -}}
{{- $values := .root.Values -}}
- {name: TIDEGATE_KAFKA__BOOTSTRAP, value: {{ $values.kafka.bootstrap | quote }}}
- {name: TIDEGATE_KAFKA__PREFIX, value: {{ $values.kafka.prefix | quote }}}
- {name: TIDEGATE_KAFKA__PARTITIONS, value: {{ $values.kafka.partitions | quote }}}
- {name: TIDEGATE_KAFKA__REPLICATION, value: {{ $values.kafka.replication | quote }}}
- {name: TIDEGATE_KAFKA__MIN_INSYNC_REPLICAS, value: {{ $values.kafka.minInsyncReplicas | quote }}}
- {name: TIDEGATE_KAFKA__OUTAGE_DAYS, value: {{ $values.kafka.outageDays | quote }}}
- {name: TIDEGATE_KAFKA__SECURITY_PROTOCOL, value: {{ $values.kafka.securityProtocol }}}
{{- $keys := $values.kafka.secretKeys }}
{{- if hasPrefix "SASL" $values.kafka.securityProtocol }}
- {name: TIDEGATE_KAFKA__SASL_MECHANISM, value: {{ $values.kafka.saslMechanism }}}
- name: TIDEGATE_KAFKA__USER
  valueFrom: {secretKeyRef: {name: {{ include "tidegate.kafkaSecret" . }}, key: {{ $keys.user }}}}
- {name: TIDEGATE_KAFKA__PASSWORD_FILE, value: /run/secrets/kafka/password}
{{- end }}
{{- if hasSuffix "SSL" $values.kafka.securityProtocol }}
{{- if $keys.ca }}
- {name: TIDEGATE_KAFKA__CA_FILE, value: /run/secrets/kafka/ca.crt}
{{- end }}
{{- if $keys.certificate }}
- {name: TIDEGATE_KAFKA__CERT_FILE, value: /run/secrets/kafka/tls.crt}
- {name: TIDEGATE_KAFKA__KEY_FILE, value: /run/secrets/kafka/tls.key}
{{- end }}
{{- end }}
{{- if has .service (list "storer" "cli" "doctor") }}
- {name: TIDEGATE_CLICKHOUSE__URL, value: {{ $values.clickhouse.url | quote }}}
- {name: TIDEGATE_CLICKHOUSE__USER, value: {{ $values.clickhouse.user | quote }}}
- {name: TIDEGATE_CLICKHOUSE__DATABASE, value: {{ $values.clickhouse.database | quote }}}
{{- if $values.clickhouse.cluster }}
- {name: TIDEGATE_CLICKHOUSE__CLUSTER, value: {{ $values.clickhouse.cluster | quote }}}
{{- end }}
{{- if $values.clickhouse.existingSecret }}
- {name: TIDEGATE_CLICKHOUSE__PASSWORD_FILE, value: /run/secrets/clickhouse/password}
{{- end }}
{{- end }}
{{- if include "tidegate.solves" . }}
{{- if $values.services.solver.providersKey }}
- {name: TIDEGATE_SOLVER__PROVIDERS_FILE, value: /run/secrets/solver/providers}
{{- else }}
- {name: TIDEGATE_SOLVER__API_KEY_FILE, value: /run/secrets/solver/api-key}
{{- end }}
{{- end }}
{{- if $values.proxies.existingSecret }}
{{- range list "fetcher" "solver" }}
{{- if has $.service (list . "doctor") }}
- {name: TIDEGATE_{{ upper . }}__PROXIES_FILE, value: /run/secrets/proxies/proxies}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq .service "fetcher") $values.services.fetcher.policy }}
- {name: TIDEGATE_FETCHER__POLICY_FILE, value: /etc/tidegate/policy.toml}
{{- end }}
{{- if eq .service "monitor" }}
- {name: TIDEGATE_MONITOR__TOKEN_FILE, value: /run/secrets/monitor/token}
{{- if $values.services.monitor.webhookKey }}
- {name: TIDEGATE_MONITOR__WEBHOOK_FILE, value: /run/secrets/monitor/webhook}
{{- end }}
{{- end }}
- {name: TIDEGATE_TELEMETRY__LOG_LEVEL, value: {{ $values.telemetry.logLevel }}}
- {name: TIDEGATE_TELEMETRY__TRACE_RATIO, value: {{ $values.telemetry.traceRatio | quote }}}
- {name: TIDEGATE_TELEMETRY__METRICS, value: {{ $values.telemetry.metrics | quote }}}
{{- if $values.telemetry.otlpEndpoint }}
- {name: TIDEGATE_TELEMETRY__OTLP_ENDPOINT, value: {{ $values.telemetry.otlpEndpoint | quote }}}
{{- end }}
- {name: TIDEGATE_RUNTIME__DRAIN_DEADLINE_S, value: {{ $values.drainSeconds | quote }}}
{{- range $key, $value := $values.settings }}
- {name: {{ printf "TIDEGATE_%s" ($key | upper) }}, value: {{ include "tidegate.scalar" $value | quote }}}
{{- end }}
{{- /* The doctor judges by the settings of those two; the hook tells the tables what the storer's say of retention. */}}
{{- range $service := get (dict "doctor" (list "fetcher" "solver") "cli" (list "storer")) .service | default (list .service) }}
{{- range $key, $value := (get $values.services $service | default dict).settings }}
- {name: {{ printf "TIDEGATE_%s__%s" ($service | upper) ($key | upper) }}, value: {{ include "tidegate.scalar" $value | quote }}}
{{- end }}
{{- end }}
{{- with get $values.services .service }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Secrets as files, which the services read anew when they change. */}}
{{- define "tidegate.secretVolumes" -}}
{{- $values := .root.Values -}}
{{- $keys := $values.kafka.secretKeys -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if ne $values.kafka.securityProtocol "PLAINTEXT" }}
- name: kafka-secret
  secret:
    secretName: {{ include "tidegate.kafkaSecret" . }}
    defaultMode: 0440
    items:
      {{- if hasPrefix "SASL" $values.kafka.securityProtocol }}
      - {key: {{ $keys.password }}, path: password}
      {{- end }}
      {{- if $keys.ca }}
      - {key: {{ $keys.ca }}, path: ca.crt}
      {{- end }}
      {{- if $keys.certificate }}
      - {key: {{ $keys.certificate }}, path: tls.crt}
      - {key: {{ $keys.key }}, path: tls.key}
      {{- end }}
{{- end }}
{{- if and (has .service (list "storer" "cli" "doctor")) $values.clickhouse.existingSecret }}
- name: clickhouse-secret
  secret:
    secretName: {{ $values.clickhouse.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ $values.clickhouse.passwordKey }}, path: password}]
{{- end }}
{{- if include "tidegate.solves" . }}
- name: solver-secret
  secret:
    secretName: {{ $values.services.solver.existingSecret }}
    defaultMode: 0440
    {{- if $values.services.solver.providersKey }}
    items: [{key: {{ $values.services.solver.providersKey }}, path: providers}]
    {{- else }}
    items: [{key: {{ $values.services.solver.apiKeyKey }}, path: api-key}]
    {{- end }}
{{- end }}
{{- if and (has .service (list "fetcher" "solver" "doctor")) $values.proxies.existingSecret }}
- name: proxies-secret
  secret:
    secretName: {{ $values.proxies.existingSecret }}
    defaultMode: 0440
    items: [{key: {{ $values.proxies.key }}, path: proxies}]
{{- end }}
{{- if and (eq .service "fetcher") $values.services.fetcher.policy }}
- name: policy
  configMap: {name: {{ include "tidegate.name" .root }}-policy}
{{- end }}
{{- if eq .service "monitor" }}
- name: monitor-secret
  secret:
    secretName: {{ $values.services.monitor.existingSecret }}
    defaultMode: 0440
    items:
      - {key: {{ $values.services.monitor.tokenKey }}, path: token}
      {{- with $values.services.monitor.webhookKey }}
      - {key: {{ . }}, path: webhook}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.secretMounts" -}}
{{- $values := .root.Values -}}
- {name: tmp, mountPath: /tmp}
{{- if ne $values.kafka.securityProtocol "PLAINTEXT" }}
- {name: kafka-secret, mountPath: /run/secrets/kafka, readOnly: true}
{{- end }}
{{- if and (has .service (list "storer" "cli" "doctor")) $values.clickhouse.existingSecret }}
- {name: clickhouse-secret, mountPath: /run/secrets/clickhouse, readOnly: true}
{{- end }}
{{- if include "tidegate.solves" . }}
- {name: solver-secret, mountPath: /run/secrets/solver, readOnly: true}
{{- end }}
{{- if and (has .service (list "fetcher" "solver" "doctor")) $values.proxies.existingSecret }}
- {name: proxies-secret, mountPath: /run/secrets/proxies, readOnly: true}
{{- end }}
{{- if and (eq .service "fetcher") $values.services.fetcher.policy }}
- {name: policy, mountPath: /etc/tidegate, readOnly: true}
{{- end }}
{{- if eq .service "monitor" }}
- {name: monitor-secret, mountPath: /run/secrets/monitor, readOnly: true}
{{- end }}
{{- end -}}

{{/* What a pod reads at its start only, as a digest: a change rolls the pods at the next upgrade. Kafka's certificates
and SCRAM password, and a fetcher's proxies, are read anew from their files and are not in it. Empty where no cluster is
asked. */}}
{{- define "tidegate.secretsChecksum" -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $read := list -}}
{{- range $each := splitList "," (include "tidegate.readOnce" .) -}}
{{- if $each -}}
{{- $named := splitn "/" 2 $each -}}
{{- $secret := lookup "v1" "Secret" $namespace $named._0 -}}
{{- with $secret -}}{{- $read = append $read (printf "%s=%s" $each (get (.data | default dict) $named._1)) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $read -}}{{- join "," $read | sha256sum -}}{{- end -}}
{{- end -}}

{{/* The keys of secrets that a service reads at its start only: secret/key, comma-separated. */}}
{{- define "tidegate.readOnce" -}}
{{- $values := .root.Values -}}
{{- $keys := list -}}
{{- if hasPrefix "SASL" $values.kafka.securityProtocol -}}
{{- $keys = append $keys (printf "%s/%s" (include "tidegate.kafkaSecret" .) $values.kafka.secretKeys.user) -}}
{{- if eq $values.kafka.saslMechanism "PLAIN" -}}
{{- $keys = append $keys (printf "%s/%s" (include "tidegate.kafkaSecret" .) $values.kafka.secretKeys.password) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .service "storer") $values.clickhouse.existingSecret -}}
{{- $keys = append $keys (printf "%s/%s" $values.clickhouse.existingSecret $values.clickhouse.passwordKey) -}}
{{- end -}}
{{- if eq .service "solver" -}}
{{- $solver := $values.services.solver -}}
{{- $keys = append $keys (printf "%s/%s" $solver.existingSecret ($solver.providersKey | default $solver.apiKeyKey)) -}}
{{- if $values.proxies.existingSecret -}}
{{- $keys = append $keys (printf "%s/%s" $values.proxies.existingSecret $values.proxies.key) -}}
{{- end -}}
{{- end -}}
{{- if eq .service "monitor" -}}
{{- $keys = append $keys (printf "%s/%s" $values.services.monitor.existingSecret $values.services.monitor.tokenKey) -}}
{{- with $values.services.monitor.webhookKey -}}
{{- $keys = append $keys (printf "%s/%s" $values.services.monitor.existingSecret .) -}}
{{- end -}}
{{- end -}}
{{- join "," $keys -}}
{{- end -}}

{{/* Why an upgrade is refused, by the environment that the release has now; empty where it is not. */}}
{{- define "tidegate.upgradeRefusal" -}}
{{- $values := .values -}}
{{- $prefix := get .was "TIDEGATE_KAFKA__PREFIX" | default "" -}}
{{- $partitions := int (get .was "TIDEGATE_KAFKA__PARTITIONS" | default "0") -}}
{{- $database := get .was "TIDEGATE_CLICKHOUSE__DATABASE" | default $values.clickhouse.database -}}
{{- if ne $prefix $values.kafka.prefix -}}
{{- printf "kafka.prefix changes from %q to %q: every job that waits in the topics of now would be left there. Set it back, or drain first and set allowUnsafeUpgrade to true" $prefix $values.kafka.prefix -}}
{{- else if lt (int $values.kafka.partitions) $partitions -}}
{{- printf "kafka.partitions is lowered from %d to %d: topics keep their partitions. Set it back" $partitions (int $values.kafka.partitions) -}}
{{- else if ne $database $values.clickhouse.database -}}
{{- printf "clickhouse.database changes from %q to %q: the rows of now would be left there, and replays would not find them. Set it back, or set allowUnsafeUpgrade to true" $database $values.clickhouse.database -}}
{{- end -}}
{{- end -}}
