"""OpenAPI, derived from the plans: parameters, typed answers, problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.errors import ErrorCode
from gateway.outcome import State
from gateway.web.problems import MEDIA_TYPE
from gateway.web.shapes import moved, nullable, refers, selected, tellable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.parameter import Parameter
    from gateway.plan import Plan, Section

__all__ = ["document", "operation"]

Schema = dict[str, Any]

_PROBLEMS = {
    404: "A required section's upstream has no such thing",
    422: "The parameters are not what they must be",
    500: "The gateway itself failed",
    502: "A required section failed",
    503: "Too much is under way; come back after Retry-After",
    504: "A required section was not there in time",
}


def operation(plan: Plan) -> dict[str, Any]:
    """Return the arguments of `FastAPI.add_api_route` that describe a dashboard."""
    config = plan.config
    return {
        "methods": ["GET"],
        "operation_id": plan.name,
        "name": plan.name,
        "summary": config.summary or plan.name.replace("_", " ").capitalize(),
        "description": config.description or "",
        "tags": config.tags or ["dashboards"],
        "response_model": None,
        "responses": {
            200: {
                "description": "Every required section is there",
                "content": {"application/json": {"schema": _reference(_title(plan))}},
                "headers": {
                    name: {"schema": {"type": "string"}, "description": description}
                    for name, description in (
                        ("ETag", "Weak validator of data, errors and states"),
                        ("Cache-Control", "Freshness of the least fresh section"),
                        ("Server-Timing", "Milliseconds of each section"),
                    )
                },
            },
            304: {"description": "The client's copy is still good (If-None-Match)"},
            **{
                status: {
                    "description": description,
                    "content": {MEDIA_TYPE: {"schema": _reference("Problem")}},
                }
                for status, description in _PROBLEMS.items()
            },
        },
        "openapi_extra": {"parameters": [_parameter(plan, p) for p in plan.parameters]},
    }


def document(base: dict[str, Any], plans: Sequence[Plan]) -> dict[str, Any]:
    """Add the schemas that operations refer to."""
    components = base.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas |= {
        "Problem": _problem(),
        "SectionError": _section_error(),
        "SectionMeta": _section_meta(),
        "ErrorCode": {"type": "string", "enum": [code.value for code in ErrorCode]},
        "SectionState": {"type": "string", "enum": [state.value for state in State]},
    }
    for plan in plans:
        schemas |= _declared(plan)
        schemas[_title(plan)] = _answer(plan)
    components["schemas"] = dict(sorted(schemas.items()))
    return base


def _parameter(plan: Plan, parameter: Parameter) -> Schema:
    schema = tellable(parameter.schema)
    told: Schema = {
        "name": parameter.name,
        "in": "path" if parameter.in_path else "query",
        "required": parameter.required,
    }
    if "description" in schema:
        told["description"] = schema.pop("description")
    name = _parameter_title(plan, parameter)
    told["schema"] = _reference(name) if refers(schema) else schema
    if parameter.is_array:
        told |= {"style": "form", "explode": True}
    return told


def _declared(plan: Plan) -> dict[str, Schema]:
    """Return the declared schemas that refer to themselves: what they refer to must have a place.

    Others stand where they are used.
    """
    declared = {}
    for parameter in plan.parameters:
        schema = tellable(parameter.schema)
        if refers(schema):
            declared[_parameter_title(plan, parameter)] = schema
    for section in plan.sections:
        if not section.hidden and refers(_section(plan, section)):
            declared[_section_title(plan, section)] = tellable(section.answer or {})
    return {name: moved(schema, _reference(name)["$ref"]) for name, schema in declared.items()}


def _title(plan: Plan) -> str:
    return "".join(word[:1].upper() + word[1:] for word in plan.name.split("_")) + "Answer"


# No title has an underscore of its own, so these names are nobody else's.
def _section_title(plan: Plan, section: Section) -> str:
    return f"{_title(plan)}_{section.name}"


def _parameter_title(plan: Plan, parameter: Parameter) -> str:
    return f"{_title(plan).removesuffix('Answer')}Parameter_{parameter.name}"


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(members: dict[str, Schema], *optional: str, **more: Any) -> Schema:
    required = [name for name in members if name not in optional]
    return {"type": "object", "properties": members, "required": required, **more}


def _answer(plan: Plan) -> Schema:
    shown = [section for section in plan.sections if not section.hidden]
    return _object(
        {
            "data": _object({s.name: _section(plan, s) for s in shown}, additionalProperties=False),
            "errors": {"type": "array", "items": _reference("SectionError")},
            "meta": _object(
                {
                    "complete": {
                        "type": "boolean",
                        "description": "No section failed and none is a stand-in",
                    },
                    "sections": _object(
                        {s.name: _reference("SectionMeta") for s in shown},
                        additionalProperties=False,
                    ),
                }
            ),
        },
        title=_title(plan),
    )


def _section(plan: Plan, section: Section) -> Schema:
    schema: Schema = moved(_one(section), _reference(_section_title(plan, section))["$ref"])
    if section.for_each is not None:
        schema = _list(nullable(schema), _kinds(plan, section))
    if section.has_fallback:
        schema = {}  # a fallback may be of any type
    if not section.required or _may_be_skipped(plan, section):
        schema = nullable(schema)
    if section.config.description:
        schema = {**schema, "description": section.config.description}
    return schema


def _list(element: Schema, kinds: set[bool]) -> Schema:
    """Return the schema of a list's result, of the kinds that it may be."""
    if kinds == {True}:
        return {"type": "object", "additionalProperties": element or True}
    if kinds == {False}:
        return {"type": "array"} | ({"items": element} if element else {})
    return {}


def _kinds(plan: Plan, section: Section) -> set[bool]:
    """Whether a list's result is an object by key; who follows another list takes its keys.

    A fallback may be a list where there would be an object, or the other way round.
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
    """Whether a section has a condition, or needs one that may be skipped."""
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


def _one(section: Section) -> Schema:
    """Return the schema of one call's shaped value; references in it lead into its `answer`."""
    root = tellable(section.answer or {})
    answer = {"$ref": "#"} if refers(root) else root
    shapes = [_source(section, number, answer, root) for number in range(len(section.sources))]
    schema = shapes[0] if all(shape == shapes[0] for shape in shapes) else {}
    if section.config.select is not None:
        schema = selected(section.config.select, schema, root)
    return schema


def _source(section: Section, number: int, answer: Schema, root: Schema) -> Schema:
    runner = section.config.race[number] if section.config.race is not None else ""
    if isinstance(runner, str) or runner.select is None:
        return answer
    return selected(runner.select, answer, root)


def _section_error() -> Schema:
    return _object(
        {
            "section": {"type": "string"},
            "code": _reference("ErrorCode"),
            "upstream": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "status": {
                "anyOf": [{"type": "integer"}, {"type": "null"}],
                "description": "What the upstream answered",
            },
            "retryable": {
                "type": "boolean",
                "description": "The same request may well succeed a moment later",
            },
            "detail": {"type": "string"},
            "element": {
                "anyOf": [{"type": "string"}, {"type": "integer"}],
                "description": "In a list: key or index of the element",
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
                "description": "When the upstream said it, where the value is kept",
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
                "description": "How many invalid parameters are not listed",
            },
        },
        "code",
        "errors",
        "invalid_parameters",
        "left_out",
        title="Problem",
        description="RFC 9457 problem details",
    )
