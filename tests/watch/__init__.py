"""Alerts and dashboards on a real Prometheus: ``make watch``, which needs Debian's package."""
