"""CSV on one connection, both ways: short, and through ASGI."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from tests.server.clients import Server, answers
from tests.server.test_protocol import asked, get
from tests.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., Any]

CSV = "Accept: text/csv"
EITHER = "Accept: text/csv, application/json;q=0.5"
TEXT = """
upstreams: {a: {base_url: http://a.test}}
dashboards:
  one: {path: /one, sections: {posts: {get: "a:/posts"}}}
  shaped: {path: /shaped, sections: {posts: {get: "a:/posts", select: "[].{id: id}"}}}
  two: {path: /two, sections: {posts: {get: "a:/posts"}, other: {get: "a:/object"}}}
  object: {path: /object, sections: {x: {get: "a:/object"}}}
  failing: {path: /failing, sections: {x: {get: "a:/missing"}}}
  long: {path: /long, sections: {x: {get: "a:/long"}}}
  many: {path: /many, sections: {x: {get: "a:/many"}}}
  uneven: {path: /uneven, sections: {x: {get: "a:/uneven"}}}
  shaped_uneven: {path: /shaped_uneven, sections: {x: {get: "a:/less_uneven", select: "[]"}}}
  each:
    path: /each
    sections:
      x: {for_each: {in: "{ids}", as: n}, get: "a:/each/{n}"}
    parameters: {ids: {type: array, items: {type: integer}, default: [1, 2]}}
"""
TABLE = b'"id","title"\r\n1,"\'=1+1"\r\n2,\r\n'
LONG = [{"n": n, "text": "x" * 50} for n in range(3000)]


@pytest.fixture(autouse=True)
def upstream() -> Iterator[Any]:
    with respx.mock(base_url="http://a.test", assert_all_called=False) as router:
        router.get("/posts").respond(json=[{"id": 1, "title": "=1+1"}, {"id": 2}])
        router.get("/object").respond(json={"a": 1})
        router.get("/missing").respond(404, json={})
        router.get("/long").respond(json=LONG)
        router.get("/many").respond(json=[0] * 110_000)
        router.get("/uneven").respond(json=[{f"k{n}": n} for n in range(1001)])
        router.get("/less_uneven").respond(json=[{f"k{n}": n} for n in range(400)])
        router.get("/each/1").respond(json={"id": 1})
        router.get("/each/2").mock(return_value=httpx.Response(500))
        yield router


def test_one_list_is_a_table(made: Make) -> None:
    (answer,) = asked(made(TEXT), get("/one", CSV)).answers
    assert answer.status == 200
    assert answer.body == TABLE
    assert answer.fields["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.fields["vary"] == "accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/shaped", b'"id"\r\n1\r\n2\r\n'),
        ("/two?sections=posts", TABLE),
        ("/each", b'"id"\r\n1\r\n""\r\n'),
    ],
)
def test_every_kind_of_list_is_a_table(made: Make, path: str, body: bytes) -> None:
    assert [a.body for a in asked(made(TEXT), get(path, CSV)).answers] == [body]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/two", "exactly one section, and the answer has 2"),
        ("/object", "section x is not one"),
        ("/many", "more than 100000 values"),
        ("/uneven", "section x has more than 1000 columns, too many for CSV"),
        ("/shaped_uneven", "section x has more than 100000 cells, too many for CSV"),
    ],
)
def test_what_is_no_table_says_why_or_is_the_document(made: Make, path: str, why: str) -> None:
    app = made(TEXT)
    (refused,) = asked(app, get(path, CSV)).answers
    assert refused.status == 406
    assert refused.fields["content-type"] == "application/problem+json"
    assert why in json.loads(refused.body)["detail"]
    (document,) = asked(app, get(path, EITHER)).answers
    assert (document.status, document.fields["content-type"]) == (200, "application/json")


def test_a_section_that_failed_is_a_problem(made: Make) -> None:
    (answer,) = asked(made(TEXT), get("/failing", CSV)).answers
    assert answer.status == 404
    assert json.loads(answer.body)["errors"][0]["section"] == "x"


def test_a_table_is_compressed_for_a_client_that_takes_that(made: Make) -> None:
    (answer,) = asked(made(TEXT), get("/one", CSV, "Accept-Encoding: gzip")).answers
    assert answer.fields["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == TABLE


def test_head_of_a_table_has_no_content(made: Make) -> None:
    (head,) = answers(asked(made(TEXT), get("/one", CSV, method="HEAD")).received, head=True)
    assert (head.status, head.body) == (200, b"")
    assert head.fields["content-type"].startswith("text/csv")


def test_a_long_table_waits_for_a_client_that_does_not_read(made: Make) -> None:
    async def main() -> None:
        client = Server(made(TEXT)).client()
        client.transport.reads = False
        client.send(get("/long", CSV))
        await asyncio.sleep(5)
        assert 60_000 < len(client.transport.unread) < 140_000
        while not client.quiet:
            client.transport.read(50_000)
            await asyncio.sleep(1)
        client.transport.read()
        (answer,) = client.answers
        assert answer.body.count(b"\r\n") == 3001
        assert answer.body.endswith(b'2999,"' + b"x" * 50 + b'"\r\n')

    run(main())
