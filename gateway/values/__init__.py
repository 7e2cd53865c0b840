"""Values of the configuration: the base model, durations and sizes."""
