"""The configuration: the YAML document with its positions, the models, the process settings."""
