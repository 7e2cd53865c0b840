"""The response cache: whole answers, stored as bytes while every section in them is fresh.

The compressed forms of an answer are stored beside it, within the same bound.

A hit is served without running the plan: it costs a lookup and a few header fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.web.fields import Fields
from gateway.web.problems import NOSNIFF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cache.store import Purges
    from gateway.values.header_fields import Field
    from gateway.web.response_headers import Freshness

__all__ = ["CachedAnswer", "ResponseCache"]

_LAST = 1.0  # seconds
_LAST_SHARE = 0.1
_JSON = (b"content-type", b"application/json")
_ANY = ((b"vary", b"*"),)
_OVERHEAD = 2048  # key, header values and bookkeeping of one answer, in bytes


class CachedAnswer:
    """A cached answer: its bytes, validator, freshness and timings.

    Attributes:
        forms: its compressed bodies, by coding; an empty one is being made.
        until: POSIX seconds up to which it is served without running its sections. That is a
            little before they expire, so that their cache can refresh them early (XFetch) and no
            client has to wait.
    """

    __slots__ = (
        "_at", "_encoded", "_fields", "_private", "_vary", "_whole", "body", "etag", "forms",
        "freshness", "timing", "until",
    )  # fmt: skip

    def __init__(
        self,
        body: bytes,
        etag: bytes,
        freshness: Freshness,
        timing: bytes,
        *,
        private: bool = False,
        vary: Sequence[Field] = (),
    ) -> None:
        self.body = body
        self.etag = etag
        self.freshness = freshness
        self.timing = timing
        self._vary = vary
        self._private = private
        ends, began = freshness.fresh_until, freshness.as_of
        self.until = 0.0
        if ends is not None and began is not None:
            self.until = ends - min(_LAST, (ends - began) * _LAST_SHARE)
        self.forms: dict[bytes, bytes] = {}
        self._at = -1
        self._fields: Fields | None = None
        self._whole: Fields | None = None
        self._encoded: dict[bytes, Fields] = {}

    def again(self, timing: bytes) -> CachedAnswer:
        """Return the answer in the form that later hits send."""
        return CachedAnswer(
            self.body,
            self.etag,
            self.freshness.as_hit(),
            timing,
            private=self._private,
            vary=self._vary,
        )

    def fields(self, now: float) -> Fields:
        """Return the header fields of a 304; made once a second at most."""
        if int(now) != self._at:
            self._renew(now)
        if self._fields is None:
            self._fields = Fields(self._common(now))
        return self._fields

    def whole_fields(self, now: float) -> Fields:
        """Return the header fields of an answer with content; made once a second at most."""
        if int(now) != self._at:
            self._renew(now)
        if self._whole is None:
            length = (b"content-length", b"%d" % len(self.body))
            self._whole = Fields([*self._described(now), length])
        return self._whole

    def encoded_fields(self, now: float, coding: bytes, size: int) -> Fields:
        """Return the header fields of a compressed form of `size` bytes; made once a second."""
        if int(now) != self._at:
            self._renew(now)
        fields = self._encoded.get(coding)
        if fields is None:
            length = (b"content-length", b"%d" % size)
            fields = Fields([*self._described(now), (b"content-encoding", coding), length])
            self._encoded[coding] = fields
        return fields

    def _renew(self, now: float) -> None:
        """Forget the fields of another second."""
        self._at = int(now)
        self._fields = self._whole = None
        self._encoded = {}

    def _common(self, now: float) -> list[Field]:
        """Return the fields that a 304 has, too."""
        return [
            (b"etag", self.etag),
            *self.freshness.fields(now, private=self._private),
            (b"server-timing", self.timing),
            *(_ANY if self.freshness.varies else self._vary),
        ]

    def _described(self, now: float) -> list[Field]:
        """Return the fields of an answer with content, but for its length and coding."""
        return [*self._common(now), _JSON, NOSNIFF]


class ResponseCache:
    """Answers by request, bounded in bytes; the least recently used answer is evicted first.

    Args:
        max_bytes: most bytes of all answers; 0 stores nothing.
        purges: the purges of the store; since they are rare, any purge empties the cache.

    Attributes:
        size: bytes that the answers count for.
    """

    __slots__ = ("_answers", "_max_bytes", "_purged", "_purges", "size")

    def __init__(self, max_bytes: int, purges: Purges) -> None:
        self._max_bytes = max_bytes
        self._purges = purges
        self._purged = purges.latest
        self._answers: dict[tuple[bytes, bytes], CachedAnswer] = {}
        self.size = 0

    @property
    def mark(self) -> int:
        """The latest purge; it does not affect answers that are begun now."""
        return self._purges.latest

    def get(self, key: tuple[bytes, bytes], now: float) -> CachedAnswer | None:
        """Return the answer for `key` if every section of it is still fresh."""
        if self._purged != self._purges.latest:
            self._purged = self._purges.latest
            self.clear()
        answer = self._answers.pop(key, None)
        if answer is None:
            return None
        if answer.until <= now:
            self.size -= self._cost(key, answer)
            return None
        self._answers[key] = answer  # reinserted as the most recently used
        return answer

    def put(self, key: tuple[bytes, bytes], answer: CachedAnswer, timing: bytes, mark: int) -> None:
        """Store an answer if it is complete, fresh and shareable.

        Args:
            key: key of the request.
            answer: the answer as it was first sent.
            timing: the value of `Server-Timing` on a hit.
            mark: `mark` from the time when the answer was begun; after a purge in between, the
                answer may contain purged values.
        """
        fresh = answer.freshness
        if not fresh.complete or fresh.fresh_until is None or not fresh.reusable:
            return
        if mark != self._purges.latest:
            return
        cost = self._cost(key, answer)
        if cost > self._max_bytes:
            return
        before = self._answers.pop(key, None)
        if before is not None:
            self.size -= self._cost(key, before)
        stored = self._answers[key] = answer.again(timing)
        stored.forms = answer.forms
        self.size += cost
        self._evict()

    def add_form(
        self, key: tuple[bytes, bytes], answer: CachedAnswer, coding: bytes, body: bytes
    ) -> None:
        """Store a compressed body beside an answer, if the answer is still there."""
        stored = self._answers.get(key)
        if stored is None or stored.forms is not answer.forms:
            return
        before = stored.forms.get(coding, b"")
        if self._cost(key, stored) - len(before) + len(body) > self._max_bytes:
            return
        stored.forms[coding] = body
        self.size += len(body) - len(before)
        self._evict()

    def clear(self) -> None:
        """Drop every answer, because something in one of them was purged."""
        self._answers.clear()
        self.size = 0

    def _evict(self) -> None:
        while self.size > self._max_bytes:
            oldest = next(iter(self._answers))
            self.size -= self._cost(oldest, self._answers.pop(oldest))

    @staticmethod
    def _cost(key: tuple[bytes, bytes], answer: CachedAnswer) -> int:
        size = len(answer.body) + len(key[0]) + len(key[1]) + _OVERHEAD
        return size + sum(map(len, answer.forms.values()))
