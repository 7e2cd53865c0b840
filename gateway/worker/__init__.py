"""The worker process that does what is too large for the gateway's event loop."""
