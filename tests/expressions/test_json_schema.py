from __future__ import annotations

import http.server
import threading
from typing import Any

import pytest

from gateway.expressions.json_schema import SchemaError, compile_schema


def test_nothing_is_fetched_whatever_a_schema_points_to() -> None:
    asked: list[str] = []

    class Canary(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Canary) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            for schema in (
                {"$schema": f"{address}/schema"},
                {"$ref": f"{address}/ref"},
                {"$id": f"{address}/id", "$ref": "other"},
                {"properties": {"a": {"$dynamicRef": f"{address}/dynamic#x"}}},
            ):
                with pytest.raises(SchemaError):
                    compile_schema(schema)
        finally:
            server.shutdown()
            thread.join()
    assert asked == []


@pytest.mark.parametrize(
    ("schema", "location"),
    [
        ({"type": "integr"}, ("type",)),
        ({"properties": {"a": {"minimum": "x"}}}, ("properties", "a", "minimum")),
        ({"maxLength": -1}, ("maxLength",)),
        ({"pattern": "("}, ("pattern",)),
        ({"$ref": "#/nope"}, ()),
        ({"$ref": "#nope"}, ()),
        ({"const": object()}, ()),
        ({1: 2}, ()),
        ({"const": "\ud800"}, ()),
        ({"minimum": float("inf")}, ("minimum",)),
    ],
)
def test_what_is_no_schema_is_told_where_it_is_not(schema: Any, location: tuple[str, ...]) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert caught.value.location == location
    assert len(str(caught.value).splitlines()) == 1


def test_a_schema_that_nests_without_end_is_refused_or_compiled_but_never_a_crash() -> None:
    schema: Any = {"type": "integer"}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(SchemaError):
        compile_schema(schema)


@pytest.mark.parametrize("draft", ["04", "06", "07"])
def test_older_drafts_are_known_by_name(draft: str) -> None:
    named = compile_schema({"$schema": f"http://json-schema.org/draft-{draft}/schema#"})
    assert named.is_valid(1)


def test_formats_are_checked_and_errors_say_where() -> None:
    schema = compile_schema({"properties": {"at": {"format": "date-time"}}})
    assert schema.is_valid({"at": "2026-01-01T00:00:00Z"})
    (error,) = schema.iter_errors({"at": "yesterday"})
    assert error.instance_path == ["at"]
