"""Describes `POST /batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.web.batch import LONGEST_ID, OWN_FIELDS
from gateway.web.openapi.shared import record, reference
from gateway.web.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from gateway.config.models import BatchConfig
    from gateway.web.openapi.schema import Schema

__all__ = ["BATCH", "BATCHES", "batch_operation"]

BATCHES = "batches"
"""The tag of the operation."""

_PROBLEMS = {
    400: "The batch is not JSON",
    413: "The batch is too large",
    415: "The batch has a content coding",
    422: "The batch does not have the right shape, or too many requests",
}

_FIELD: Schema = {"type": "string", "pattern": "^[\\t -~]*$"}

BATCH: dict[str, Schema] = {
    "BatchRequest": record(
        {
            "id": {
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST_ID,
                "description": "Repeated in the answer, to tell it from the others",
            },
            "path": {
                "type": "string",
                "pattern": "^/[!-~]*$",
                "description": "Path and query of a dashboard",
            },
            "headers": {
                "type": "object",
                "properties": dict.fromkeys(OWN_FIELDS, _FIELD),
                "additionalProperties": False,
                "description": "Header fields of this request; those of the batch apply to all",
            },
        },
        "headers",
        additionalProperties=False,
        title="BatchRequest",
    ),
    "BatchResponse": record(
        {
            "id": {"type": "string"},
            "status": {"type": "integer"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "body": {"description": "The document, the problem, or null with a 304"},
        },
        title="BatchResponse",
    ),
}
"""The schemas that only batches use."""


def batch_operation(config: BatchConfig) -> dict[str, Any]:
    """Return the arguments of `FastAPI.add_api_route` that describe batches."""
    asked = record(
        {
            "requests": {
                "type": "array",
                "items": reference("BatchRequest"),
                "minItems": 1,
                "maxItems": config.max_requests,
            }
        },
        additionalProperties=False,
    )
    answered = record({"responses": {"type": "array", "items": reference("BatchResponse")}})
    return {
        "methods": ["POST"],
        "name": "batch",
        "summary": "Ask many dashboards at once",
        "description": "Each request is answered as if it had been sent alone, with its own status "
        "and header fields. With `Accept: application/jsonl` each answer is a line, sent the "
        "moment it is there.",
        "tags": [BATCHES],
        "response_model": None,
        "responses": {
            200: {
                "description": "Each request has an answer",
                "content": {
                    "application/json": {"schema": answered},
                    "application/jsonl": {"schema": reference("BatchResponse")},
                },
            },
            **{
                status: {
                    "description": description,
                    "content": {MEDIA_TYPE: {"schema": reference("Problem")}},
                }
                for status, description in _PROBLEMS.items()
            },
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}}
        },
    }
