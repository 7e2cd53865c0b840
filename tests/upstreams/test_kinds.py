"""A source kind is a folder and a line: here the folder is a class, and the line is patched in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from gateway.call import Request, Response
from gateway.config.models import UpstreamConfig
from gateway.errors import ConfigError, UpstreamUnreachable
from gateway.expressions.reference import Reference, TemplateError, parse_reference
from gateway.plan.explain import explain
from gateway.plan.load import document_model, loads
from gateway.upstreams.kind import Environment, Sent, Wire
from gateway.upstreams.kinds import KINDS
from tests.serving import application, asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.expressions.reference import Scope


class ToyConfig(UpstreamConfig):
    """An upstream that knows words by heart."""

    words: dict[str, str]


class ToyOperation:
    def __init__(self, word: str) -> None:
        self.word = word
        self.identity = word.encode()
        self.safe = True

    def __str__(self) -> str:
        return f"LOOK UP {self.word}"


class ToyTemplate:
    """`upstream:{reference}`."""

    def __init__(self, text: str, upstream: str, reference: Reference) -> None:
        self.text = text
        self.upstream = upstream
        self.references = (reference,)

    def needed_references(self) -> tuple[Reference, ...]:
        return self.references

    def repeats(self, element: str) -> bool:
        return False

    def operation(self, scope: Scope, sent: Sent) -> ToyOperation:
        return ToyOperation(str(self.references[0].find(scope)))

    def explain(self, scope: Scope) -> str:
        return str(self.operation(scope, Sent()))


class Toy:
    key = "words"
    config = ToyConfig

    def __init__(self) -> None:
        self.calls: list[str] = []

    def parse(self, text: str) -> ToyTemplate:
        match = re.fullmatch(r"(\w+):\{(\w+)\}", text)
        if match is None:
            raise TemplateError("write upstream:{reference}")
        return ToyTemplate(text, match[1], parse_reference(match[2], match.start(2) - 1))

    def open(self, name: str, config: ToyConfig, environment: Environment) -> Wire:
        async def call(request: Request) -> Response:
            assert isinstance(request.operation, ToyOperation)
            word = request.operation.word
            self.calls.append(word)
            if word not in config.words:
                raise UpstreamUnreachable("forgot the word", upstream=name)
            return Response(config.words[word])

        async def aclose() -> None:
            self.calls.append("closed")

        return Wire(call, aclose, ToyOperation("ping"), b"toy")

    def missing(self, config: ToyConfig) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if not config.words:
            yield ("words",), "a toy without words knows nothing"


TEXT = """
upstreams:
  toy: {words: {hi: hello}, cache: {ttl: 1h}, retry: {base: 1ms}, breaker: {}}
dashboards:
  d:
    path: /d
    parameters: {word: {type: string}}
    sections:
      x: {get: "toy:{word}"}
"""


@pytest.fixture
def toy() -> Iterator[Toy]:
    kind = Toy()
    KINDS.append(kind)
    yield kind
    KINDS.remove(kind)


async def test_a_toy_kind_answers_through_every_layer(toy: Toy) -> None:
    app = application(TEXT)
    async with asked(app) as client:
        for _ in range(2):
            document = (await client.get("/d?word=hi")).json()
            assert document["data"] == {"x": "hello"}
        assert toy.calls == ["hi"]  # the second answer is a hit
        failed = (await client.get("/d?word=what")).json()
        assert failed["errors"][0]["code"] == "upstream_unreachable"
        assert toy.calls == ["hi", "what", "what", "what"]  # repeated
    await app.served.aclose()
    assert toy.calls[-1] == "closed"


def test_a_toy_kind_is_explained(toy: Toy) -> None:
    explanation = explain(loads(TEXT), urlsplit("/d?word=hi"))
    assert explanation.steps[0].calls == ("toy LOOK UP hi",)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"toy:{word}"', '"toy:word"', "write upstream:{reference}"),
        ('"toy:{word}"', '"toy:{wort}"', "did you mean word"),
        ("{hi: hello}", "{}", "a toy without words knows nothing"),
        ("{hi: hello}", "5", "should be a mapping"),
        ("breaker", "braker", "unknown key braker, did you mean breaker?"),
    ],
)
def test_mistakes_in_a_toy_are_diagnostics(toy: Toy, before: str, after: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        loads(TEXT.replace(before, after))


def test_the_schema_of_the_document_knows_every_kind(toy: Toy) -> None:
    schema: dict[str, Any] = document_model().model_json_schema()
    assert {"HttpUpstreamConfig", "ToyConfig"} <= schema["$defs"].keys()
