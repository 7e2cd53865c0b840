from typing import Any

import orjson
import pytest

from gateway.mock.answer import Answer
from gateway.mock.jsonplaceholder import JsonPlaceholder

PLACEHOLDER = JsonPlaceholder()


def ask(target: str) -> tuple[str | None, Answer]:
    path, _, query = target.partition("?")
    return PLACEHOLDER.answer(path, query.encode())


def value(target: str) -> Any:
    return orjson.loads(ask(target)[1].body["body"])


def headers(target: str) -> dict[bytes, bytes]:
    return dict(ask(target)[1].start["headers"])


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return type(value).__name__


def test_there_are_as_many_records_as_in_the_real_one() -> None:
    assert len(value("/users")) == 10
    assert len(value("/posts")) == 100
    assert len(value("/comments")) == 500
    assert [len(value(f"/users/{user}/posts")) for user in range(1, 11)] == [10] * 10
    assert [len(value(f"/posts/{post}/comments")) for post in range(1, 101)] == [5] * 100


def test_a_user_has_the_shape_of_the_real_one() -> None:
    assert shape(value("/users/1")) == {
        "id": "int",
        "name": "str",
        "username": "str",
        "email": "str",
        "address": {
            "street": "str",
            "suite": "str",
            "city": "str",
            "zipcode": "str",
            "geo": {"lat": "str", "lng": "str"},
        },
        "phone": "str",
        "website": "str",
        "company": {"name": "str", "catchPhrase": "str", "bs": "str"},
    }


def test_users_differ_and_live_somewhere() -> None:
    users = value("/users")
    assert len({user["name"] for user in users}) == 10
    assert len({user["address"]["city"] for user in users}) == 10
    for user in users:
        geo = user["address"]["geo"]
        assert -90 <= float(geo["lat"]) <= 90
        assert -180 <= float(geo["lng"]) <= 180


def test_posts_and_comments_have_the_shapes_of_the_real_ones() -> None:
    assert shape(value("/posts/1")) == {"userId": "int", "id": "int", "title": "str", "body": "str"}
    assert shape(value("/comments/1")) == {
        "postId": "int",
        "id": "int",
        "name": "str",
        "email": "str",
        "body": "str",
    }


def test_identifiers_run_through() -> None:
    assert [post["id"] for post in value("/posts?userId=2")] == list(range(11, 21))
    assert [comment["id"] for comment in value("/comments?postId=3")] == list(range(11, 16))
    assert [post["id"] for post in value("/posts?id=1&id=2")] == [1, 2]


def test_a_nested_list_is_the_filtered_list() -> None:
    assert value("/users/2/posts") == value("/posts?userId=2")
    assert value("/posts/3/comments?_limit=2") == value("/comments?postId=3&_limit=2")
    assert value("/users/2/posts?userId=3") == value("/posts?userId=2")
    assert value("/users/99/posts") == []


@pytest.mark.parametrize(
    ("target", "contract"),
    [
        ("/users", "users"),
        ("/users/", "users"),
        ("/users/1", "users"),
        ("/users/99", "users"),
        ("/users/1/posts", "posts"),
        ("/posts/1/comments", "comments"),
        ("/users/1/comments", None),
        ("/kittens", None),
    ],
)
def test_every_path_belongs_to_a_contract_or_to_none(target: str, contract: str | None) -> None:
    assert ask(target)[0] == contract


@pytest.mark.parametrize(
    "target", ["/users/99", "/users/0", "/users/01", "/users/abc", "/users/1/x", "/kittens"]
)
def test_what_is_not_there_is_404_with_an_empty_object(target: str) -> None:
    assert ask(target)[1].start["status"] == 404
    assert value(target) == {}


def test_headers_are_like_the_real_ones() -> None:
    assert headers("/posts/1")[b"content-type"] == b"application/json; charset=utf-8"
    assert headers("/posts/1")[b"cache-control"] == b"max-age=43200"
    assert b"x-total-count" not in headers("/posts")
    assert headers("/posts?userId=1&_limit=3")[b"x-total-count"] == b"10"


def test_two_of_them_have_the_same_bytes() -> None:
    other = JsonPlaceholder()
    for path in ("/users", "/posts", "/comments"):
        assert other.answer(path, b"") == PLACEHOLDER.answer(path, b"")


def test_the_data_is_the_same_in_every_release() -> None:
    # Answers are compared across processes and machines: changing them is a decision.
    assert value("/users/1")["name"] == "Amara Fontaine"
    assert value("/posts/1")["userId"] == 1
    assert value("/comments/500")["postId"] == 100
