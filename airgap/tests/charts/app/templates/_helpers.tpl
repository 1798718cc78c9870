{{- define "app.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end -}}
