"""`/docs`: the OpenAPI document for humans, by Swagger UI, without another host.

Swagger UI is vendored (`swagger_ui/README.md`). `swagger-ui-bundle` on PyPI has version 4, which
cannot read OpenAPI 3.1.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from gateway.web.static import FOREVER, StaticFile, static_files

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["INTEGRITY", "VERSION", "router"]

VERSION = "5.35.0"
INTEGRITY = {
    "swagger-ui-bundle.js": "sha384-"
    "gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9",
    "swagger-ui.css": "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I",
}
"""Digests of the files as npm has them; a browser refuses any other file."""
_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}


def router() -> APIRouter:
    """Return the routes of the page `/docs` and of what it loads."""
    here = files(__name__)
    served = {
        "/docs": StaticFile(_page(), "text/html; charset=utf-8"),
        "/docs/start.js": StaticFile(here.joinpath("start.js").read_bytes(), _TYPES["js"]),
    }
    for name in INTEGRITY:
        served[f"/docs/{VERSION}/{name}"] = StaticFile(
            here.joinpath("swagger_ui", f"{name}.gz").read_bytes(),
            _TYPES[name.rpartition(".")[2]],
            compressed=True,
            cache=FOREVER,
        )
    return static_files(served)


def _page() -> bytes:
    """Return the page; its links are relative, so it works below any root path."""
    text = files(__name__).joinpath("index.html").read_text("utf-8")
    text = text.replace("VERSION", VERSION)
    for name, digest in INTEGRITY.items():
        text = text.replace(f'{name}"', f'{name}" integrity="{digest}"')
    return text.encode("utf-8")
