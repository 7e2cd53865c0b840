"""A large configuration with every feature that types a section, for checks of the OpenAPI document.

Also a script that writes it, to be read by other tools::

    python tests/large_configuration.py 60 > large.yaml
    gateway openapi -c large.yaml > large.json
"""

from __future__ import annotations

import json
import sys

__all__ = ["large_configuration"]

USER = {
    "type": "object",
    "required": ["id", "name", "address"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "name": {"type": "string"},
        "email": {"type": "string", "format": "email"},
        "nickname": {"type": ["string", "null"]},
        "role": {"enum": ["admin", "editor", None]},
        "address": {
            "type": "object",
            "required": ["city", "geo"],
            "properties": {
                "city": {"type": "string"},
                "geo": {
                    "type": "object",
                    "required": ["lat", "lng"],
                    "properties": {"lat": {"type": "number"}, "lng": {"type": "number"}},
                },
            },
        },
    },
}
POST = {
    "type": "object",
    "required": ["id", "title", "tags"],
    "properties": {
        "id": {"type": "integer"},
        "title": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "author": {"$ref": "#/$defs/author"},
        "score": {"type": "number"},
    },
    "$defs": {"author": {"type": "object", "required": ["name"],
                         "properties": {"name": {"type": "string"}}}},
}  # fmt: skip
POSTS = {
    "type": "array",
    "items": {"$ref": "#/$defs/post"},
    "$defs": {"post": POST | {"$defs": {}}, **POST["$defs"]},  # type: ignore[dict-item]
}
TREE = {
    "type": "object",
    "required": ["label", "children"],
    "properties": {
        "label": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#"}},
        "parent": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
}
PRICE = {
    "oneOf": [
        {"type": "object", "required": ["kind", "amount"], "additionalProperties": False,
         "properties": {"kind": {"const": "fixed"}, "amount": {"type": "number"}}},
        {"type": "object", "required": ["kind", "low", "high"], "additionalProperties": False,
         "properties": {"kind": {"const": "range"}, "low": {"type": "number"},
                        "high": {"type": "number"}}},
    ]
}  # fmt: skip

_UPSTREAMS = """\
upstreams:
  users: {base_url: https://users.example.com, retry: {}, cache: {ttl: 1m}}
  posts: {base_url: https://posts.example.com, breaker: {}}
  prices: {base_url: https://prices.example.com, answer: %(price)s}
  mirror: {base_url: https://mirror.example.com, answer: %(price)s}
dashboards:
"""

# One dashboard of each kind; `%(n)d` is its number.
_KINDS = (
    """\
  user_page_%(n)d:
    path: /users%(n)d/{user_id}
    summary: A user and what belongs to them
    tags: [users]
    parameters:
      user_id: {type: integer, minimum: 1, description: Number of the user}
      verbose: {type: boolean, default: false, description: Whether to tell more}
      sort: {type: string, enum: [new, old], required: false}
    sections:
      profile: {get: "users:/users/{user_id}", required: true, answer: %(user)s}
      contact:
        get: "users:/users/{user_id}"
        answer: %(user)s
        select: "{name: name, email: email, city: address.city, lat: address.geo.lat}"
        fallback: null
      posts:
        get: "posts:/posts?user={user_id}"
        answer: %(posts)s
        select: "[:5].{id: id, title: title, by: author.name, tags: join(', ', tags)}"
        fallback: []
        description: The newest five
      extra: {get: "posts:/extra/{user_id}", when: verbose, answer: %(tree)s}
      raw: {get: "posts:/raw/{profile.id}"}
""",
    """\
  lists_%(n)d:
    path: /lists%(n)d
    description: Lists in order and by key, and lists that follow lists.
    tags: [lists]
    parameters:
      id: {type: array, items: {type: integer, minimum: 1}, maxItems: 20, default: [1, 2]}
    sections:
      keyed:
        for_each: {in: "{id}", as: one, key: "@", limit: 20}
        get: "users:/users/{one}"
        answer: %(user)s
        select: "{id: id, name: name, nickname: nickname}"
      listed: {for_each: "{id}", get: "users:/users/{item}", answer: %(user)s, required: true}
      followed:
        for_each: {in: "{keyed}", as: user}
        get: "posts:/posts?user={user.id}"
        answer: %(posts)s
        select: "length(@)"
      many:
        for_each: {in: "{id}", as: one, batch: 10, match: author.id, many: true, key: "@"}
        get: "posts:/posts?author={one}"
        answer: %(posts)s
        select: "sort_by(@, &title)[*].{id: id, title: title}"
      standing:
        for_each: {in: "{id}", key: "@"}
        get: "users:/users/{item}"
        answer: %(user)s
        select: name
        fallback: {unknown: "nobody"}
""",
    """\
  prices_%(n)d:
    path: /prices%(n)d/{product}
    tags: [prices]
    parameters:
      product: {type: string, minLength: 1, maxLength: 40, pattern: "^[a-z]+$"}
      below: {type: number, minimum: 0, required: false}
    sections:
      quickest:
        race: ["prices:/prices/{product}", "mirror:/prices/{product}"]
        required: true
      common:
        race:
          - {get: "users:/price/{product}", select: "{amount: amount}"}
          - {get: "posts:/price/{product}", select: "{amount: to_number(price), currency: 'EUR'}"}
        fallback: {amount: 0, currency: EUR}
      one: {get: "prices:/prices/{product}", select: "amount || low"}
      hidden: {get: "prices:/prices/{product}", hidden: true}
      after: {get: "mirror:/after/{hidden.kind}", when: "hidden.kind == 'fixed'", select: kind}
""",
    """\
  figures_%(n)d:
    path: /figures%(n)d
    tags: [figures]
    sections:
      best:
        get: "posts:/posts"
        answer: %(posts)s
        select: "{best: max_by(@, &id).title, sum: sum([].score), mean: avg([].score), first: [0], last: [-1].id, kinds: [type(@), length(@)], all: [].tags[], named: [?author].author.name, titles: map(&title, @)}"
        fallback: {}
      tree: {get: "posts:/tree", answer: %(tree)s, select: "children[*].children[].label", fallback: 5}
      recursive: {get: "posts:/tree", answer: %(tree)s, select: parent, fallback: [1, two, null]}
""",
)  # fmt: skip
_COLLIDING = """\
  a_b: {path: /a_b, sections: {x: {get: "users:/", schema: {type: string}, required: true}}}
  a__b: {path: /a__b, sections: {x: {get: "users:/", schema: {type: integer}, required: true}}}
"""


def large_configuration(dashboards: int = 12) -> str:
    """Return the YAML text of a configuration of so many dashboards, of every kind in turn."""
    schemas = {
        name: json.dumps(schema)
        for name, schema in (("user", USER), ("posts", POSTS), ("tree", TREE), ("price", PRICE))
    }
    text = _UPSTREAMS % schemas
    for number in range(dashboards):
        text += _KINDS[number % len(_KINDS)] % {**schemas, "n": number}
    return text + _COLLIDING


if __name__ == "__main__":
    sys.stdout.write(large_configuration(int(sys.argv[1]) if len(sys.argv) > 1 else 12))
