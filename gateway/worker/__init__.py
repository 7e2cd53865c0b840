"""The worker process that decodes and shapes what is too large for the gateway's event loop."""
