"""Rules about metrics, alerts and dashboards."""
