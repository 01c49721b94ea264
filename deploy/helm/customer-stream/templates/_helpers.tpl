{{- define "customer-stream.labels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "customer-stream.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "customer-stream.name" -}}
{{- $release := .root.Release.Name -}}
{{- $chart := .root.Chart.Name -}}
{{- $base := ternary $release (printf "%s-%s" $release $chart) (contains $chart $release) -}}
{{ $base | trunc 48 | trimSuffix "-" }}-{{ .part }}
{{- end }}

{{/* Settings and secrets as variables. If two maps have the same key, the value of the last map is
used. The value of a secret is the name of a mounted file. */}}
{{- define "customer-stream.env" -}}
{{- range $name, $value := .settings }}
- name: {{ $name }}
  value: {{ kindIs "float64" $value | ternary (printf "%.0f" (float64 $value)) (toString $value) | quote }}
{{- end }}
{{- range $name, $_ := .secrets }}
- name: {{ $name }}_FILE
  value: /run/secrets/{{ $name }}
{{- end }}
{{- end }}

{{- define "customer-stream.secretVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $secret := .secrets }}
      - secret: { name: {{ $secret.name | quote }}, items: [{ key: {{ $secret.key | quote }}, path: {{ $name }} }] }
      {{- end }}
{{- end }}

{{- define "customer-stream.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "customer-stream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Puts two pods of a part on one node, or into one zone, only if there is no other place. */}}
{{- define "customer-stream.placement" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "customer-stream.selector" . | nindent 14 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "customer-stream.selector" . | nindent 8 }}
{{- end }}

{{- define "customer-stream.image" -}}
{{- $own := get (get .root.Values .part | default dict) "tag" -}}
{{ .root.Values.image.repository }}/{{ .part }}:{{ coalesce $own .root.Values.image.tag .root.Chart.AppVersion }}
{{- end }}
