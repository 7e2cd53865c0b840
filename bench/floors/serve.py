"""Serve the constant answer as `gateway run` serves, but with uvicorn's own protocol."""

import sys

import uvicorn
from asgi_constant import app

from gateway.commands.serving import tune_collector, uvicorn_options
from gateway.config.settings import Settings
from gateway.server.limits import Limits

if __name__ == "__main__":
    options = uvicorn_options(Settings.read(), Limits()) | {"http": "httptools"}
    tune_collector()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **options)
