"""The configuration: its models, its loader, the settings of the process."""
