"""Derives the OpenAPI document from the plans: parameters, typed answers, problems."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from gateway.engine.outcome import State
from gateway.errors import ErrorCode
from gateway.web.openapi.inference import infer
from gateway.web.openapi.references import hoisted, references, refers, tellable, with_items
from gateway.web.openapi.schema import NULL, Schema, literal
from gateway.web.openapi.shapes import Shapes
from gateway.web.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.expressions.parameter import Parameter
    from gateway.plan.model import Plan, Section

__all__ = ["OpenApi"]

_HOME = "#/components/schemas/"

_PROBLEMS = {
    404: "A required section was not found at its upstream",
    422: "The parameters are invalid",
    500: "The gateway itself failed",
    502: "A required section failed",
    503: "Too many requests are in flight; retry after Retry-After",
    504: "A required section timed out",
}
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
        self._bases = _bases(plan.name for plan in plans)
        self._declared: dict[str, Schema] = {}
        self._of_upstreams = {
            name: self._placed(f"Upstream_{name}", tellable(answer))
            for name, answer in (answers or {}).items()
        }
        self._of_sections = {
            (plan.name, section.name): self._placed(
                f"{self._title(plan)}_{section.name}", tellable(section.answer)
            )
            for plan in plans
            for section in plan.sections
            if section.answer is not None
        }
        # A base contains no underscore, so these names are distinct.
        self._of_parameters = {
            (plan.name, parameter.name): self._placed(
                f"{self._bases[plan.name]}Parameter_{parameter.name}", _undescribed(parameter)
            )
            for plan in plans
            for parameter in plan.parameters
        }
        self._shapes = Shapes({"components": {"schemas": self._declared}})

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
                    "content": {"application/json": {"schema": _reference(self._title(plan))}},
                    "headers": {
                        name: {"schema": {"type": "string"}, "description": description}
                        for name, description in _HEADERS.items()
                    },
                },
                304: {"description": "The client's copy is still current (If-None-Match)"},
                **{status: _refusal(status) for status in _statuses(plan)},
            },
            "openapi_extra": {"parameters": [self._parameter(plan, p) for p in plan.parameters]},
        }

    def document(self, base: dict[str, Any]) -> dict[str, Any]:
        """Add the schemas that operations refer to, and the parts that all operations share."""
        components = base.setdefault("components", {})
        schemas: dict[str, Schema] = components.setdefault("schemas", {})
        schemas |= {
            "Problem": _problem(),
            "SectionError": _section_error(),
            "SectionMeta": _section_meta(),
            "ErrorCode": {"type": "string", "enum": [code.value for code in ErrorCode]},
            "SectionState": {"type": "string", "enum": [state.value for state in State]},
        }
        for plan in self._plans:
            schemas[self._title(plan)] = self._answer(plan)
        schemas |= self._referred(base)
        components["schemas"] = {name: with_items(schemas[name]) for name in sorted(schemas)}
        base.setdefault("security", [])  # an operation that needs credentials declares them itself
        base.setdefault("tags", self._tags(base))
        return base

    def _referred(self, base: Mapping[str, Any]) -> dict[str, Schema]:
        """Return the declared schemas that the document refers to."""
        found: dict[str, Schema] = {}
        left: list[Any] = [base]
        while left:
            for reference in set(references(left.pop())):
                name = reference.removeprefix(_HOME)
                if name in self._declared and name not in found:
                    found[name] = self._declared[name]
                    left.append(found[name])
        return found

    def _placed(self, name: str, schema: Schema) -> Schema:
        """Return a declared schema in a form that can be used anywhere in the document.

        A schema that refers to itself becomes a component; others are inlined.
        """
        if not refers(schema):
            return schema
        self._declared |= hoisted(schema, name, _HOME)
        return _reference(name)

    def _tags(self, base: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the tags of the operations, in order."""
        operations = (one for path in base.get("paths", {}).values() for one in path.values())
        used = dict.fromkeys(tag for one in operations for tag in one.get("tags", ()))
        of_dashboards = {tag for plan in self._plans for tag in _tags(plan)}
        return [
            {
                "name": tag,
                "description": f"Dashboards tagged {tag}"
                if tag in of_dashboards
                else "The process itself",
            }
            for tag in used
        ]

    def _title(self, plan: Plan) -> str:
        return f"{self._bases[plan.name]}Answer"

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

    def _answer(self, plan: Plan) -> Schema:
        shown = [section for section in plan.sections if not section.hidden]
        return _object(
            {
                "data": _object(
                    {section.name: self._section(plan, section) for section in shown},
                    additionalProperties=False,
                ),
                "errors": {"type": "array", "items": _reference("SectionError")},
                "meta": _object(
                    {
                        "complete": {
                            "type": "boolean",
                            "description": "No section failed and none is a fallback",
                        },
                        "sections": _object(
                            {section.name: _reference("SectionMeta") for section in shown},
                            additionalProperties=False,
                        ),
                    }
                ),
            },
            title=self._title(plan),
        )

    def _section(self, plan: Plan, section: Section) -> Schema:
        """Return the schema of a section's data, in every state that it can have."""
        schema = self._value(plan, section)
        if section.for_each is not None:
            schema = self._list(self._shapes.nullable(schema), _kinds(plan, section))
        states = [schema]
        if section.has_fallback:
            if not self._shapes.accepts(schema, section.fallback):
                states.append(literal(section.fallback))
        elif not section.required:
            states.append(NULL)
        if _may_be_skipped(plan, section):
            states.append(NULL)
        schema = self._shapes.union(states)
        if section.config.description:
            schema = {**schema, "description": section.config.description}
        return schema

    def _list(self, element: Schema, kinds: set[bool]) -> Schema:
        """Return the schema of a list's result, for every form that it can have."""
        listed: Schema = {"type": "array"} | ({"items": element} if element else {})
        keyed: Schema = {"type": "object", "additionalProperties": element or True}
        return self._shapes.union(keyed if kind else listed for kind in sorted(kinds))

    def _value(self, plan: Plan, section: Section) -> Schema:
        """Return the schema of one call's shaped value."""
        shapes = [self._source(plan, section, number) for number in range(len(section.sources))]
        schema = self._shapes.union(shapes)
        if section.config.select is not None:
            schema = infer(section.config.select, schema, self._shapes)
        return schema

    def _source(self, plan: Plan, section: Section, number: int) -> Schema:
        answer = self._of_sections.get((plan.name, section.name))
        if answer is None:
            answer = self._of_upstreams.get(section.sources[number].upstream, {})
            if section.for_each is not None and section.for_each.batch is not None:
                answer = self._element(answer, many=section.for_each.many)
        runner = section.config.race[number] if section.config.race is not None else ""
        if isinstance(runner, str) or runner.select is None:
            return answer
        # A source whose `select` finds nothing has failed.
        return self._shapes.without_null(infer(runner.select, answer, self._shapes))

    def _element(self, answer: Schema, *, many: bool) -> Schema:
        """Return the schema of one element of a batched list."""
        lists = [one for one in self._shapes.alternatives(answer) if one["type"] == "array"]
        element = self._shapes.union(self._shapes.elements(one) for one in lists)
        if not many:
            return element
        return {"type": "array"} | ({"items": element} if element else {})


def _bases(names: Iterable[str]) -> dict[str, str]:
    """Return the prefix of each dashboard's schema names.

    It is the name in camel case, with a number if several dashboards would share it. It does not
    depend on the order of declaration, so moving a dashboard in the file changes no client.
    """
    bases: dict[str, str] = {}
    taken: set[str] = set()
    duplicates = []
    for name in sorted(names, key=lambda name: (len(name), name)):
        base = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
        if base.casefold() in taken:
            duplicates.append((name, base))
        else:
            taken.add(base.casefold())
            bases[name] = base
    for name, base in duplicates:
        numbered = (f"{base}{number}" for number in count(2))
        bases[name] = next(one for one in numbered if one.casefold() not in taken)
        taken.add(bases[name].casefold())
    return bases


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

    Any dashboard can answer 500 (a bug) and 503 (too many requests). Only parameters can be
    invalid, and only a required section without a fallback can fail the whole answer.
    """
    required = any(section.required and not section.has_fallback for section in plan.sections)
    return [
        status
        for status in _PROBLEMS
        if (required or status not in _WHERE_ONE_IS_REQUIRED) and (plan.parameters or status != 422)  # noqa: PLR2004 - the status
    ]


def _refusal(status: int) -> dict[str, Any]:
    return {
        "description": _PROBLEMS[status],
        "content": {MEDIA_TYPE: {"schema": _reference("Problem")}},
        **({"headers": _RETRY_AFTER} if status == 503 else {}),  # noqa: PLR2004 - the status
    }


def _tags(plan: Plan) -> list[str]:
    return plan.config.tags or ["dashboards"]


def _reference(name: str) -> Schema:
    return {"$ref": _HOME + name}


def _object(members: dict[str, Schema], *optional: str, **more: Any) -> Schema:
    required = [name for name in members if name not in optional]
    return {"type": "object", "properties": members, "required": required, **more}


def _kinds(plan: Plan, section: Section) -> set[bool]:
    """Whether a list's result is an object by key; a section that follows a list has its keys.

    A fallback may be a list in place of an object, or the other way round.
    """
    kinds = set()
    spec = section.for_each
    while spec is not None and spec.flows_from is not None:
        leader = plan.sections[spec.flows_from]
        if isinstance(leader.fallback, (dict, list)):
            kinds.add(isinstance(leader.fallback, dict))
        spec = leader.for_each
    kinds.add(spec is not None and spec.key is not None)
    return kinds


def _may_be_skipped(plan: Plan, section: Section) -> bool:
    """Whether a section has a condition, or needs a section that may be skipped."""
    seen = {section.index}
    left = [section]
    while left:
        one = left.pop()
        if one.when is not None:
            return True
        leader = one.for_each.flows_from if one.for_each is not None else None
        needs = {*one.needs, *(() if leader is None else (leader,))} - seen
        seen |= needs
        left += [plan.sections[need] for need in needs]
    return False


def _section_error() -> Schema:
    return _object(
        {
            "section": {"type": "string"},
            "code": _reference("ErrorCode"),
            "upstream": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "status": {
                "anyOf": [{"type": "integer"}, {"type": "null"}],
                "description": "Status that the upstream answered",
            },
            "retryable": {
                "type": "boolean",
                "description": "The same request may succeed if it is retried",
            },
            "detail": {"type": "string"},
            "element": {
                "anyOf": [{"type": "string"}, {"type": "integer"}],
                "description": "In a list: the key or index of the element",
            },
        },
        "element",
        title="SectionError",
    )


def _section_meta() -> Schema:
    return _object(
        {
            "state": _reference("SectionState"),
            "as_of": {
                "type": "string",
                "format": "date-time",
                "description": "When the upstream sent the value, if it came from the cache",
            },
            "reason": _reference("ErrorCode"),
        },
        "as_of",
        "reason",
        title="SectionMeta",
    )


def _problem() -> Schema:
    return _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": _reference("ErrorCode"),
            "errors": {"type": "array", "items": _reference("SectionError")},
            "invalid_parameters": {
                "type": "array",
                "items": _object({"name": {"type": "string"}, "detail": {"type": "string"}}),
            },
            "left_out": {
                "type": "integer",
                "description": "Number of invalid parameters that are not listed",
            },
        },
        "code",
        "errors",
        "invalid_parameters",
        "left_out",
        title="Problem",
        description="RFC 9457 problem details",
    )
