"""Derives the OpenAPI document from the plans: parameters, typed answers, problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.plan.prune import SECTIONS
from gateway.web.openapi.batch import BATCH, BATCHES
from gateway.web.openapi.events import CONTENTS, events
from gateway.web.openapi.names import Names
from gateway.web.openapi.references import references, tellable, with_items
from gateway.web.openapi.sections import Sections, placed
from gateway.web.openapi.shared import HOME, SHARED, record, reference
from gateway.web.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.expressions.parameter import Parameter
    from gateway.plan.model import Plan
    from gateway.web.openapi.schema import Schema

__all__ = ["OpenApi"]

_PROBLEMS = {
    404: "A required section was not found at its upstream",
    422: "The parameters are invalid, or `sections` names none of this dashboard",
    500: "The gateway itself failed",
    502: "A required section failed",
    503: "Too many requests are in flight; retry after Retry-After",
    504: "A required section timed out",
}
_OF_OTHERS = ("Health", "HTTPValidationError", "ValidationError")
"""Schemas that other routes bring."""
_WHERE_ONE_IS_REQUIRED = (404, 502, 504)
_HEADERS = {
    "ETag": "Weak validator of data, errors and states",
    "Cache-Control": "Freshness of the least fresh section",
    "Server-Timing": "Milliseconds of each section",
}
_RETRY_AFTER = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Minimum seconds to wait"}
}


class OpenApi:
    """Describes the dashboards of one application.

    Args:
        plans: all plans, whose schemas share one document.
        answers: the JSON Schema that every answer of an upstream meets, by its name.
    """

    def __init__(
        self, plans: Sequence[Plan], answers: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self._plans = plans
        self._answers = answers or {}
        self._names = Names(
            {plan.name: [section.name for section in plan.sections] for plan in plans},
            taken=[*SHARED, *BATCH, *_OF_OTHERS],
        )
        # No other name has an underscore, so these are distinct.
        self._declared: dict[str, Schema] = {}
        self._of_parameters = {
            (plan.name, parameter.name): placed(
                f"{self._title(plan)}Parameter_{parameter.name}",
                _undescribed(parameter),
                self._declared,
            )
            for plan in plans
            for parameter in plan.parameters
        }

    def operation(self, plan: Plan) -> dict[str, Any]:
        """Return the arguments of `FastAPI.add_api_route` that describe a dashboard."""
        config = plan.config
        return {
            "methods": ["GET"],
            "operation_id": plan.name,
            "name": plan.name,
            "summary": config.summary or plan.name.replace("_", " ").capitalize(),
            "description": config.description or _description(plan),
            "tags": _tags(plan),
            "response_model": None,
            "responses": {
                200: {
                    "description": "Every required section has a value",
                    "content": self._contents(plan),
                    "headers": {
                        name: {"schema": {"type": "string"}, "description": description}
                        for name, description in _HEADERS.items()
                    },
                },
                304: {"description": "The client's copy is still current (If-None-Match)"},
                **{status: _refusal(status) for status in _statuses(plan)},
            },
            "openapi_extra": {
                "parameters": [
                    *(self._parameter(plan, p) for p in plan.parameters),
                    *_selection(plan),
                ],
            },
        }

    def document(self, base: dict[str, Any]) -> dict[str, Any]:
        """Add the schemas that operations refer to, and the parts that all operations share."""
        components = base.setdefault("components", {})
        schemas: dict[str, Schema] = components.setdefault("schemas", {})
        sections = Sections(self._plans, self._answers, self._names)
        known = SHARED | BATCH | self._declared | sections.components
        for plan in self._plans:
            known |= self._schemas(plan, sections) | events(plan, sections, self._names)
        schemas |= _referred(base, known)
        components["schemas"] = {name: with_items(schemas[name]) for name in sorted(schemas)}
        base.setdefault("security", [])  # an operation that needs credentials declares them itself
        base.setdefault("tags", self._tags(base))
        return base

    def _tags(self, base: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the tags of the operations, in order."""
        operations = (one for path in base.get("paths", {}).values() for one in path.values())
        used = dict.fromkeys(tag for one in operations for tag in one.get("tags", ()))
        of_dashboards = {tag for plan in self._plans for tag in _tags(plan)}
        others = {BATCHES: "Many dashboards with one request"}
        return [
            {
                "name": tag,
                "description": f"Dashboards tagged {tag}"
                if tag in of_dashboards
                else others.get(tag, "The process itself"),
            }
            for tag in used
        ]

    def _title(self, plan: Plan) -> str:
        return self._names.dashboard(plan.name)

    def _parameter(self, plan: Plan, parameter: Parameter) -> Schema:
        described: Schema = {
            "name": parameter.name,
            "in": "path" if parameter.in_path else "query",
            "required": parameter.required,
        }
        if "description" in parameter.schema:
            described["description"] = parameter.schema["description"]
        described["schema"] = self._of_parameters[plan.name, parameter.name]
        if parameter.is_array:
            described |= {"style": "form", "explode": True}
        return described

    def _contents(self, plan: Plan) -> dict[str, Schema]:
        """Return the forms of an answer, by their media types."""
        parts = {"application/json": "", **CONTENTS}
        return {
            media_type: {"schema": reference(self._names.dashboard(plan.name, part))}
            for media_type, part in parts.items()
        }

    def _schemas(self, plan: Plan, sections: Sections) -> dict[str, Schema]:
        """Return the schemas of a dashboard's document and its two parts."""
        shown = [section for section in plan.sections if not section.hidden]
        title, data, meta = (
            self._names.dashboard(plan.name, part) for part in ("", "Sections", "Meta")
        )
        return {
            title: record(
                {
                    "data": reference(data),
                    "errors": {"type": "array", "items": reference("SectionError")},
                    "meta": reference(meta),
                },
                title=title,
            ),
            data: record(
                {section.name: sections.data(plan, section) for section in shown},
                additionalProperties=False,
            ),
            meta: record(
                {
                    "complete": {
                        "type": "boolean",
                        "description": "No section failed and none is a fallback",
                    },
                    "sections": record(
                        {section.name: sections.meta(plan, section) for section in shown},
                        additionalProperties=False,
                    ),
                }
            ),
        }


def _referred(base: Mapping[str, Any], known: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the known schemas that the document refers to."""
    found: dict[str, Schema] = {}
    left: list[Any] = [base]
    while left:
        for target in set(references(left.pop())):
            name = target.removeprefix(HOME)
            if name in known and name not in found:
                found[name] = known[name]
                left.append(found[name])
    return found


def _undescribed(parameter: Parameter) -> Schema:
    schema = tellable(parameter.schema)
    schema.pop("description", None)  # the parameter object has it
    if parameter.is_array:
        schema.setdefault("items", {"type": "string"})  # matches how values are read
    described: Schema = with_items(schema)
    return described


def _description(plan: Plan) -> str:
    shown = [
        f"`{section.name}`{' (required)' if section.required else ''}"
        for section in plan.sections
        if not section.hidden
    ]
    if len(shown) < 2:  # noqa: PLR2004 - one name needs no list
        return f"Returns the section {shown[0]}." if shown else "Returns no section."
    return f"Returns the sections {', '.join(shown[:-1])} and {shown[-1]}."


def _statuses(plan: Plan) -> list[int]:
    """Return the statuses of the problems that a dashboard may answer with.

    Any dashboard can answer 422 (`sections`), 500 (a bug) and 503 (too many requests). Only a
    required section without a fallback can fail the whole answer.
    """
    required = any(section.required and not section.has_fallback for section in plan.sections)
    return [status for status in _PROBLEMS if required or status not in _WHERE_ONE_IS_REQUIRED]


def _selection(plan: Plan) -> Iterator[Schema]:
    """Yield the parameter that selects sections, if there are any to select."""
    names = [section.name for section in plan.sections if not section.hidden]
    if names:
        yield {
            "name": SECTIONS,
            "in": "query",
            "required": False,
            "description": "Fetch and return only these sections; `data` and `meta.sections` then "
            "have no others",
            "schema": {
                "type": "array",
                "items": {"type": "string", "enum": names},
                "minItems": 1,
            },
            "style": "form",
            "explode": False,
        }


def _refusal(status: int) -> dict[str, Any]:
    return {
        "description": _PROBLEMS[status],
        "content": {MEDIA_TYPE: {"schema": reference("Problem")}},
        **({"headers": _RETRY_AFTER} if status == 503 else {}),  # noqa: PLR2004 - the status
    }


def _tags(plan: Plan) -> list[str]:
    return plan.config.tags or ["dashboards"]
