"""Monitoring: metrics are scraped, and alerts and dashboards ask for what is there."""
