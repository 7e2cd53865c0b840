"""FastAPI with one shared aiohttp session."""

import asyncio
import json
import os
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI, Request

DASHBOARDS = json.loads(os.environ["BENCH_DASHBOARDS"])


@asynccontextmanager
async def lifespan(app: FastAPI):
    connector = aiohttp.TCPConnector(limit=512)
    async with aiohttp.ClientSession(os.environ["BENCH_UPSTREAM"], connector=connector) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


async def fetch(session: aiohttp.ClientSession, path: str):
    async with session.get(path, raise_for_status=True) as response:
        return await response.json()


def add(name: str, sections: dict[str, str]) -> None:
    @app.get(f"/{name}")
    async def dashboard(request: Request):
        session = request.app.state.session
        values = await asyncio.gather(*(fetch(session, path) for path in sections.values()))
        return {"data": dict(zip(sections, values, strict=True))}


for name, sections in DASHBOARDS.items():
    add(name, sections)
