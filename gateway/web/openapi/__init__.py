"""The OpenAPI document, derived from the plans."""
