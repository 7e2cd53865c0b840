"""Upstreams: a name, a kind, and the stack of layers around its wire call."""
