"""The client's header fields: selects those that a dashboard reads and sends to upstreams.

`forward_headers` are part of a call's identity: they make answers private to the client.
`propagate_headers` are only passed on, for example for tracing, and answers stay shared. One
client's propagated field may be sent on behalf of others that share the call, so a malformed one is
dropped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.upstreams.kind import Sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.values.header_fields import Field

__all__ = ["ClientHeaders", "Read"]

_ACCEPT = b"accept"
_ACCEPT_ENCODING = b"accept-encoding"
_IF_NONE_MATCH = b"if-none-match"
_LAST_EVENT_ID = b"last-event-id"
_OWN = frozenset({_ACCEPT, _ACCEPT_ENCODING, _IF_NONE_MATCH, _LAST_EVENT_ID})
_MAX_PROPAGATED = 8192
"""Most bytes propagated from one request: the minimum of W3C Baggage (section 3.3.2)."""
_NOTHING: Mapping[str, Sent] = {}
_SENDABLE = re.compile(rb"[\t -~]+").fullmatch


class Read(NamedTuple):
    """The header fields of one request that a dashboard uses.

    Attributes:
        if_none_match: the field as one list; empty if it is absent.
        sent: the fields to forward and propagate to each upstream; upstreams that get none are
            left out.
        private: a field is forwarded, so the answer is for this client only.
        accept: the field as one list; empty if it is absent.
        last_event_id: the field; empty if it is absent.
        accept_encoding: the field as one list; empty if it is absent.
    """

    if_none_match: bytes
    sent: Mapping[str, Sent] = _NOTHING
    private: bool = False
    accept: bytes = b""
    last_event_id: bytes = b""
    accept_encoding: bytes = b""


class ClientHeaders:
    """Selects the header fields of a request that one dashboard uses.

    Args:
        forward: the names in `forward_headers` of each upstream, in lower case.
        propagate: the names in `propagate_headers` of each upstream, in lower case.
        varying: names of other fields by which every answer may vary.

    Attributes:
        forwarded: names of the fields that are forwarded to any upstream.
        vary: the `Vary` field of every answer.
    """

    __slots__ = ("_forward", "_passed_on", "_propagate", "_watched", "forwarded", "vary")

    def __init__(
        self,
        *,
        forward: Mapping[str, Iterable[bytes]],
        propagate: Mapping[str, Iterable[bytes]],
        varying: Iterable[bytes] = (),
    ) -> None:
        self._forward = _sets(forward)
        # Most upstreams share one list, so the propagated fields are selected once for all of them.
        self._propagate: dict[frozenset[bytes], list[str]] = {}
        for upstream, names in _sets(propagate).items():
            self._propagate.setdefault(names, []).append(upstream)
        forwarded = self.forwarded = frozenset[bytes]().union(*self._forward.values())
        self._passed_on = forwarded.union(*self._propagate)
        self._watched = self._passed_on | _OWN
        # RFC 9110 section 12.5.5: `Accept` chooses the form, and a forwarded field may have
        # changed the answer.
        varied_by = [*sorted(forwarded | {_ACCEPT}), *varying]
        self.vary: list[Field] = [(b"vary", b", ".join(varied_by))]

    def read(self, fields: Iterable[Field]) -> Read:
        """Return the header fields of one request that this dashboard uses."""
        watched = self._watched
        if_none_match = accept = accept_encoding = last_event_id = b""
        found: list[Field] = []
        for field in fields:
            name, value = field
            if name in watched:
                # RFC 9110 section 5.3: several lines are one list.
                if name == _ACCEPT:
                    accept = b"%b, %b" % (accept, value) if accept else value
                elif name == _ACCEPT_ENCODING:
                    many = accept_encoding
                    accept_encoding = b"%b, %b" % (many, value) if many else value
                elif name == _IF_NONE_MATCH:
                    if_none_match = b"%b, %b" % (if_none_match, value) if if_none_match else value
                elif name == _LAST_EVENT_ID:
                    last_event_id = value
                if name in self._passed_on:
                    found.append(field)
        if not found:
            return Read(if_none_match, _NOTHING, False, accept, last_event_id, accept_encoding)
        forwarded, propagated = self._forwarded(found), self._propagated(found)
        sent = {
            upstream: Sent(forwarded.get(upstream, ()), propagated.get(upstream, ()))
            for upstream in forwarded | propagated
        }
        private = bool(forwarded)
        return Read(if_none_match, sent, private, accept, last_event_id, accept_encoding)

    def _forwarded(self, found: list[Field]) -> dict[str, Sequence[Field]]:
        chosen: dict[str, Sequence[Field]] = {}
        for upstream, names in self._forward.items():
            if sent := [field for field in found if field[0] in names]:
                chosen[upstream] = sent
        return chosen

    def _propagated(self, found: list[Field]) -> dict[str, Sequence[Field]]:
        """Return the fields to propagate to each upstream, within the size limit."""
        chosen: dict[str, Sequence[Field]] = {}
        for names, upstreams in self._propagate.items():
            left = _MAX_PROPAGATED
            sent = []
            for field in found:
                name, value = field
                if name in names and len(name) + len(value) <= left and _SENDABLE(value):
                    left -= len(name) + len(value)
                    sent.append(field)
            if sent:
                for upstream in upstreams:
                    chosen[upstream] = sent
        return chosen


def _sets(names: Mapping[str, Iterable[bytes]]) -> dict[str, frozenset[bytes]]:
    sets = {upstream: frozenset(wanted) for upstream, wanted in names.items()}
    return {upstream: wanted for upstream, wanted in sets.items() if wanted}
