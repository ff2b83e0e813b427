{{/* What both kinds of autoscaler are told: topics, queries, behaviour. */}}

{{/* Topics that are work of a service now, comma-separated; never the delay topics: what waits there is not due. */}}
{{- define "tidegate.scaling.topics" -}}
{{- join "," (get (dict
  "fetcher" (list "urls-high" "urls" "urls-low" "captcha-solutions")
  "solver" (list "captcha-requests")
  "storer" (list "pages" "solves" "dead-letter")) .service) -}}
{{- end -}}

{{- define "tidegate.scaling.pods" -}}
{{- printf "namespace=%q,pod=~%q" .root.Release.Namespace (printf "%s-%s-.*" (include "tidegate.name" .root) .service) -}}
{{- end -}}

{{/* The storer's records in hand are batches that fill, whatever the load. */}}
{{- define "tidegate.scaling.work" -}}
{{- $pods := include "tidegate.scaling.pods" . -}}
{{- ternary (printf "sum(rate(tidegate_store_records_total{%s}[2m])) or vector(0)" $pods) (printf "sum(tidegate_records_in_hand{%s}) or vector(0)" $pods) (eq .service "storer") -}}
{{- end -}}

{{- define "tidegate.scaling.captcha" -}}
{{- $pods := include "tidegate.scaling.pods" . -}}
{{- printf "(sum(rate(tidegate_challenges_total{%s}[5m])) or vector(0)) / clamp_min((sum(rate(tidegate_challenges_total{%s}[5m])) or vector(0)) + (sum(rate(tidegate_fetches_total{%s,outcome=\"page\"}[5m])) or vector(0)), 0.1)" $pods $pods $pods -}}
{{- end -}}

{{- define "tidegate.scaling.held" -}}
{{- printf "sum(tidegate_gate_share_clean{%s} < bool 0.5) or vector(0)" (include "tidegate.scaling.pods" .) -}}
{{- end -}}

{{/* What is wanted, not what is there: terminating and surging pods would ratchet the count up. */}}
{{- define "tidegate.scaling.wanted" -}}
{{- printf "max(kube_deployment_spec_replicas{namespace=%q,deployment=%q})" .root.Release.Namespace (printf "%s-%s" (include "tidegate.name" .root) .service) -}}
{{- end -}}

{{/* A member more or less is a rebalance for all: up in steps, down slowly and one at a time. */}}
{{- define "tidegate.scaling.behavior" -}}
scaleUp:
  # The lag that a rebalance leaves behind is gone by then, and calls for nobody.
  stabilizationWindowSeconds: 60
  policies: [{type: Pods, value: 2, periodSeconds: 60}]
scaleDown:
  stabilizationWindowSeconds: 600
  policies: [{type: Pods, value: 1, periodSeconds: 120}]
{{- end -}}
