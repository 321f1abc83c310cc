"""Independent of Kubernetes: findings, YAML, TOML, JSON Schema, files, processes, tools."""
