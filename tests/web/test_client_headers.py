from __future__ import annotations

from gateway.upstreams.kind import Sent
from gateway.web.client_headers import ClientHeaders, Read

CLIENT = ClientHeaders(
    forward={"a": (b"authorization", b"if-none-match"), "b": (), "c": (b"accept-language",)},
    propagate={"a": (b"traceparent", b"x-request-id"), "b": (b"traceparent",), "c": ()},
)
TRACE = (b"traceparent", b"00-1")


def test_each_upstream_gets_its_own_fields_and_those_without_are_left_out() -> None:
    fields = [(b"host", b"x"), (b"authorization", b"t"), TRACE, (b"x-request-id", b"7"),
              (b"cookie", b"c"), (b"traceparent", b"00-2")]  # fmt: skip
    read = CLIENT.read(fields)
    assert read.if_none_match == b""
    assert read.private
    trace = [TRACE, (b"x-request-id", b"7"), (b"traceparent", b"00-2")]
    assert read.sent == {
        "a": Sent([(b"authorization", b"t")], trace),
        "b": Sent((), [TRACE, (b"traceparent", b"00-2")]),
    }


def test_what_is_only_propagated_makes_nothing_private() -> None:
    assert not CLIENT.read([TRACE]).private


def test_a_validator_is_read_whether_it_is_forwarded_or_not() -> None:
    field = (b"if-none-match", b'"1"')
    assert CLIENT.read([field]) == Read(b'"1"', {"a": Sent([field])}, private=True)
    neither = ClientHeaders(forward={"a": ()}, propagate={"a": ()})
    assert neither.read([field, TRACE]) == Read(b'"1"')


def test_a_request_without_any_of_them_makes_nothing() -> None:
    first, second = CLIENT.read([(b"host", b"x")]), CLIENT.read([])
    assert first == Read(b"")
    assert first.sent is second.sent


def test_answers_vary_by_accept_and_what_is_forwarded() -> None:
    assert CLIENT.vary == [(b"vary", b"accept, accept-language, authorization, if-none-match")]
    propagating = ClientHeaders(forward={}, propagate={"a": (b"traceparent",)})
    assert propagating.vary == [(b"vary", b"accept")]


def test_what_an_upstream_could_refuse_is_not_propagated() -> None:
    """One client's field may be sent for others that share the call."""
    wrong = [(b"traceparent", value) for value in (b"", b"\xff", b"\x00", b"a\x7f", b"x" * 8192)]
    assert CLIENT.read([*wrong, TRACE]).sent == {"a": Sent((), [TRACE]), "b": Sent((), [TRACE])}
    many = [(b"x-request-id", b"y" * 500)] * 1000
    assert len(CLIENT.read(many).sent["a"].propagated) == 8192 // 512
