"""FastAPI with one shared stock httpx client."""

import asyncio
import json
import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request

DASHBOARDS = json.loads(os.environ["BENCH_DASHBOARDS"])


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with httpx.AsyncClient(base_url=os.environ["BENCH_UPSTREAM"], timeout=30) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


async def fetch(client: httpx.AsyncClient, path: str):
    response = await client.get(path)
    response.raise_for_status()
    return response.json()


def add(name: str, sections: dict[str, str]) -> None:
    @app.get(f"/{name}")
    async def dashboard(request: Request):
        client = request.app.state.client
        values = await asyncio.gather(*(fetch(client, path) for path in sections.values()))
        return {"data": dict(zip(sections, values, strict=True))}


for name, sections in DASHBOARDS.items():
    add(name, sections)
