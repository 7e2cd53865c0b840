"""The tutorial pattern: FastAPI, and a new httpx client for each call."""

import asyncio
import json
import os

import httpx
from fastapi import FastAPI

UPSTREAM = os.environ["BENCH_UPSTREAM"]
DASHBOARDS = json.loads(os.environ["BENCH_DASHBOARDS"])

app = FastAPI()


async def fetch(path: str):
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.get(UPSTREAM + path)
        response.raise_for_status()
        return response.json()


def add(name: str, sections: dict[str, str]) -> None:
    @app.get(f"/{name}")
    async def dashboard():
        values = await asyncio.gather(*(fetch(path) for path in sections.values()))
        return {"data": dict(zip(sections, values, strict=True))}


for name, sections in DASHBOARDS.items():
    add(name, sections)
