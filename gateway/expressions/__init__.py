"""References, JMESPath, JSON Schema and parameters."""
