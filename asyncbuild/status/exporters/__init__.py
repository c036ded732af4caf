"""Metrics and traces for others: Prometheus, CloudWatch (EMF), OpenTelemetry."""
