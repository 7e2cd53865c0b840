"""Serve the constant answer under uvicorn, with the options that make it fastest."""

import sys

import uvicorn
from asgi_constant import app

from gateway.commands.serving import tune_collector

if __name__ == "__main__":
    tune_collector()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        backlog=4096,
    )
