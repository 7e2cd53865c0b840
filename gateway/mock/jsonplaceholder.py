"""JSONPlaceholder's users, posts and comments: the same shapes and counts, with generated text."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from gateway.mock import json_server
from gateway.mock.answer import Answer, json_answer
from gateway.mock.places import CITIES, City
from gateway.mock.words import FIRST_NAMES, LAST_NAMES, STREETS, TRADES, Writer

_SEED = 20260101
_USERS = 10
_POSTS_OF_A_USER = 10
_COMMENTS_OF_A_POST = 5

_NESTED: Mapping[tuple[str, str], str] = MappingProxyType(
    {("users", "posts"): "userId", ("posts", "comments"): "postId"}
)
"""The nested lists: which field of the child names the parent."""

_CACHE_CONTROL = (b"cache-control", b"max-age=43200")


class JsonPlaceholder:
    """Answers GET requests from a data set that the constructor generates."""

    __slots__ = ("_by_id", "_records")

    def __init__(self) -> None:
        write = Writer(_SEED)
        people = zip(
            write.distinct(FIRST_NAMES, _USERS),
            write.distinct(LAST_NAMES, _USERS),
            write.distinct(CITIES, _USERS),
            strict=True,
        )
        users = [
            _user(write, number, first, last, city)
            for number, (first, last, city) in enumerate(people, start=1)
        ]
        posts = [
            _post(write, number, 1 + (number - 1) // _POSTS_OF_A_USER)
            for number in range(1, _USERS * _POSTS_OF_A_USER + 1)
        ]
        comments = [
            _comment(write, number, 1 + (number - 1) // _COMMENTS_OF_A_POST)
            for number in range(1, len(posts) * _COMMENTS_OF_A_POST + 1)
        ]
        self._records: Mapping[str, Sequence[json_server.Record]] = {
            "users": users,
            "posts": posts,
            "comments": comments,
        }
        self._by_id = {
            (kind, str(record["id"])): record
            for kind, records in self._records.items()
            for record in records
        }

    def answer(self, path: str, query: bytes) -> tuple[str | None, Answer]:
        """The contract that `path` belongs to, or None, and its answer.

        A missing record or path is 404 with an empty object. The posts of a missing user are an
        empty list, because json-server rewrites them to a filter.
        """
        match path.strip("/").split("/"):
            case [kind] if kind in self._records:
                return kind, self._list(kind, _parameters(query))
            case [kind, number] if kind in self._records:
                record = self._by_id.get((kind, number))
                return kind, _NOT_FOUND if record is None else _found(record)
            case [kind, number, child] if key := _NESTED.get((kind, child)):
                asked = [pair for pair in _parameters(query) if pair[0] != key]
                return child, self._list(child, [*asked, (key, number)])
            case _:
                return None, _NOT_FOUND

    def _list(self, kind: str, parameters: list[tuple[str, str]]) -> Answer:
        records, total = json_server.query(self._records[kind], parameters)
        if total is None:
            return _found(records)
        count = (b"x-total-count", str(total).encode())
        return _found(records, count, (b"access-control-expose-headers", b"X-Total-Count"))


_NOT_FOUND = json_answer({}, status=404)


def _found(value: Any, *headers: tuple[bytes, bytes]) -> Answer:
    # Indented like the real API, so that sizes on the wire and parsing times are comparable.
    return json_answer(value, headers=(_CACHE_CONTROL, *headers), indent=True)


def _parameters(query: bytes) -> list[tuple[str, str]]:
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True)


def _user(write: Writer, number: int, first: str, last: str, city: City) -> dict[str, Any]:
    company = f"{last} {write.pick(TRADES)}"
    handle = f"{first}.{last}".lower()
    return {
        "id": number,
        "name": f"{first} {last}",
        "username": f"{first}{write.between(10, 99)}",
        "email": f"{handle}@example.org",
        "address": {
            "street": f"{write.pick(STREETS)} Street",
            "suite": f"{write.pick(('Apt.', 'Suite'))} {write.between(100, 999)}",
            "city": city.name,
            "zipcode": f"{write.between(10000, 99999)}-{write.between(1000, 9999)}",
            "geo": {"lat": f"{city.latitude:.4f}", "lng": f"{city.longitude:.4f}"},
        },
        "phone": f"1-555-{write.between(100, 999)}-{write.between(1000, 9999)}",
        "website": f"{last.lower()}.example",
        "company": {
            "name": company,
            "catchPhrase": write.phrase(3, 5).capitalize(),
            "bs": write.phrase(3, 4),
        },
    }


def _post(write: Writer, number: int, user: int) -> dict[str, Any]:
    return {"userId": user, "id": number, "title": write.phrase(3, 8), "body": write.lines(4)}


def _comment(write: Writer, number: int, post: int) -> dict[str, Any]:
    first, last = write.pick(FIRST_NAMES), write.pick(LAST_NAMES)
    return {
        "postId": post,
        "id": number,
        "name": write.phrase(3, 7),
        "email": f"{first}.{last}{number}@example.org".lower(),
        "body": write.lines(4),
    }
