"""The engine: runs a plan for one request."""
