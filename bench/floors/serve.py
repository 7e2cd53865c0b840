"""Serve the constant answer just as `gateway run` serves: the same options, the same collector."""

import sys

import uvicorn
from asgi_constant import app

from gateway.commands.serving import tune_collector, uvicorn_options
from gateway.config.settings import Settings

if __name__ == "__main__":
    options = uvicorn_options(Settings.read())
    tune_collector()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **options)
