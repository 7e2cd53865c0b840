"""The kind `http`: targets, exchanges, and the decoding of answers."""
