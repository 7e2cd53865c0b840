"""The list queries of json-server 0.17, the program behind JSONPlaceholder.

Supported: equality on any field, dotted paths included (repeated values mean OR); `_ne`, `_gte`,
`_lte`, `_like`; full text by `q`; `_sort` and `_order`; `_page`, `_start`, `_end` and `_limit`,
with the total in `X-Total-Count`. As in json-server, a parameter that is not a field of the records
is ignored. Unlike json-server, `_like` matches plain text (a caller's regular expression could run
forever), and there is no `Link` header, `_embed` or `_expand`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

_CONTROLS = frozenset({"q", "_sort", "_order", "_page", "_start", "_end", "_limit"})
_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d{1,15}")


def query(
    records: Sequence[Record], parameters: Iterable[tuple[str, str]]
) -> tuple[Sequence[Record], int | None]:
    """The records that match `parameters`, and their number before slicing.

    The number is None without a slice: json-server then reports no total.
    """
    controls: dict[str, str] = {}
    filters: dict[str, list[str]] = {}
    for name, value in parameters:
        if name in _CONTROLS:
            controls.setdefault(name, value)
        else:
            filters.setdefault(name, []).append(value)
    found: Sequence[Record] = records
    if text := controls.get("q"):
        found = [record for record in found if _mentions(record, text.lower())]
    for name, values in filters.items():
        keep = _filter(name, values, records)
        if keep is not None:
            found = [record for record in found if keep(record)]
    found = _sorted(found, controls.get("_sort", ""), controls.get("_order", ""))
    if not any(controls.get(name) for name in ("_page", "_end", "_limit")):
        return found, None
    return _sliced(found, controls), len(found)


def _filter(
    name: str, values: list[str], records: Sequence[Record]
) -> Callable[[Record], bool] | None:
    path, _, operator = name.rpartition("_")
    test = _OPERATORS.get(operator) if path else None
    if test is None:
        if all(_at(record, name) is None for record in records):
            return None
        path, test = name, _equal
    # Every `_ne` has to hold, as in SQL's NOT IN; of the others one is enough.
    quantifier = all if operator == "ne" else any

    def keep(record: Record) -> bool:
        field = _at(record, path)
        return field is not None and quantifier(test(field, value) for value in values)

    return keep


def _equal(field: Any, value: str) -> bool:
    return _text(field) == value


def _differs(field: Any, value: str) -> bool:
    return _text(field) != value


def _contains(field: Any, value: str) -> bool:
    return value.lower() in _text(field).lower()


def _at_least(field: Any, value: str) -> bool:
    return _compare(field, value, lambda a, b: a >= b)


def _at_most(field: Any, value: str) -> bool:
    return _compare(field, value, lambda a, b: a <= b)


_OPERATORS: Mapping[str, Callable[[Any, str], bool]] = {
    "ne": _differs,
    "like": _contains,
    "gte": _at_least,
    "lte": _at_most,
}


def _compare(field: Any, value: str, holds: Callable[[Any, Any], bool]) -> bool:
    # JavaScript compares a number with a string as numbers, two strings as text.
    if isinstance(field, str):
        return holds(field, value)
    try:
        return holds(field, float(value))
    except (TypeError, ValueError):
        return False


def _text(field: Any) -> str:
    return field if isinstance(field, str) else str(field)


def _at(record: Record, path: str) -> Any:
    """The value at a dotted path such as `address.geo.lat`, None if there is none."""
    value: Any = record
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _mentions(value: Any, text: str) -> bool:
    if isinstance(value, Mapping):
        return any(_mentions(item, text) for item in value.values())
    return text in _text(value).lower()


def _sorted(records: Sequence[Record], sort: str, order: str) -> Sequence[Record]:
    keys = [key for key in sort.split(",") if key]
    orders = order.lower().split(",")
    # The last key first: the sort is stable, so the first key dominates.
    for index in range(len(keys) - 1, -1, -1):
        by = _sort_key(keys[index])
        descending = index < len(orders) and orders[index] == "desc"
        records = sorted(records, key=by, reverse=descending)
    return records


def _sort_key(path: str) -> Callable[[Record], Any]:
    def key(record: Record) -> Any:
        value = _at(record, path)
        # A field that is missing or not sortable does not change the order.
        return value if isinstance(value, (str, int, float)) else ""

    return key


def _sliced(records: Sequence[Record], controls: Mapping[str, str]) -> Sequence[Record]:
    limit = _whole_number(controls.get("_limit", ""))
    if controls.get("_page"):
        page = max(_whole_number(controls["_page"]) or 1, 1)
        size = limit or 10
        return records[(page - 1) * size : page * size]
    start = _whole_number(controls.get("_start", "")) or 0
    if controls.get("_end"):
        return records[start : _whole_number(controls["_end"]) or 0]
    return records[start : start + (limit or 0)]


def _whole_number(text: str) -> int | None:
    """JavaScript's parseInt: the leading digits of `text`, None for NaN."""
    match = _WHOLE_NUMBER.match(text)
    return int(match[0]) if match else None
