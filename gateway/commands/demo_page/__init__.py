"""The page at `/` of the demo: lists the dashboards, and draws their sections as they land."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter

from gateway.web.static import StaticFile, static_files

__all__ = ["router"]

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}


def router() -> APIRouter:
    """Return the routes of the page and of what it loads."""
    here = files(__name__)
    served = {
        "/" if name == "index.html" else f"/demo/{name}": StaticFile(
            here.joinpath(name).read_bytes(), media_type
        )
        for name, media_type in _TYPES.items()
    }
    return static_files(served)
