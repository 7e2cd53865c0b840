"""The expression languages of the configuration: references, JMESPath, JSON Schema, parameters."""
