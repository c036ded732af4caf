"""Exporters of metrics and traces: Prometheus, CloudWatch (EMF), OpenTelemetry."""
