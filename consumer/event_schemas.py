"""The published event contract, made from the models that read the events.

JSON Schemas (draft 2020-12) of each topic's data, and an AsyncAPI 3.0 document around them.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from consumer.events import (
    ASSESSMENT_CHANGED,
    GRADE_CHANGED,
    GROUP_CHANGED,
    TOPICS,
    AssessmentChanged,
    GradeChanged,
    GroupChanged,
)

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_MODELS: Final = {
    ASSESSMENT_CHANGED: AssessmentChanged,
    GRADE_CHANGED: GradeChanged,
    GROUP_CHANGED: GroupChanged,
}
_KEYS: Final = {
    ASSESSMENT_CHANGED: "{district}/{assessment}/{class}",
    GRADE_CHANGED: "{district}/{assessment}/{class}/{student}",
    GROUP_CHANGED: "{district}/{teacher}",
}
_ABOUT: Final = {
    ASSESSMENT_CHANGED: "One assessment in one class changed; the whole latest state.",
    GRADE_CHANGED: "One student's grade changed; the whole latest state.",
    GROUP_CHANGED: "A teacher joined or left the Skyward Grade Passback Teacher Group.",
}
_DECIMAL: Final = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"},
    ]
}


def data_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of each topic's ``data``, by topic without its prefix."""
    return {topic: _schema(topic) for topic in TOPICS}


def asyncapi(prefix: str, version: str) -> dict[str, Any]:
    """The AsyncAPI 3.0 document; ``prefix`` stands before each topic's name."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Otus grade passback events",
            "version": version,
            "description": (
                "CloudEvents 1.0, structured (application/cloudevents+json) or binary (ce_"
                " headers). data.version rises per subject; the subject is the Kafka key."
                " The topics are compacted; a null value is a tombstone."
            ),
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {topic: _channel(prefix, topic) for topic in TOPICS},
        "operations": {
            f"receive-{topic}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{topic}"},
                "messages": [{"$ref": f"#/channels/{topic}/messages/{topic}"}],
            }
            for topic in TOPICS
        },
        "components": {
            "messages": {topic: _message(topic) for topic in TOPICS},
            "schemas": {topic: _embedded(topic) for topic in TOPICS},
        },
    }


def _channel(prefix: str, topic: str) -> dict[str, Any]:
    return {
        "address": prefix + topic,
        "description": _ABOUT[topic],
        "messages": {topic: {"$ref": f"#/components/messages/{topic}"}},
        "bindings": {"kafka": {"topicConfiguration": {"cleanup.policy": ["compact"]}}},
    }


def _message(topic: str) -> dict[str, Any]:
    return {
        "name": f"com.otus.{topic}.v1",
        "summary": _ABOUT[topic],
        "contentType": "application/cloudevents+json",
        "bindings": {
            "kafka": {"key": {"type": "string", "description": f"As {_KEYS[topic]}"}},
        },
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "time", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {"type": "string", "minLength": 1},
                "source": {"type": "string", "minLength": 1},
                "type": {"const": f"com.otus.{topic}.v1"},
                "subject": {
                    "type": ["string", "null"],
                    "description": f"The record's key: {_KEYS[topic]}",
                },
                "time": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When it changed in Otus, with its zone",
                },
                "datacontenttype": {"const": "application/json"},
                "data": {"$ref": f"#/components/schemas/{topic}"},
            },
        },
    }


def _schema(topic: str) -> dict[str, Any]:
    raw = msgspec.json.schema(_MODELS[topic])
    definitions = {name: _published(one) for name, one in raw["$defs"].items()}
    main = definitions.pop(_MODELS[topic].__name__)
    whole: dict[str, Any] = {"$schema": _DRAFT, "$id": f"urn:otus:{topic}:v1", **main}
    if definitions:
        whole["$defs"] = definitions
    return whole


def _embedded(topic: str) -> dict[str, Any]:
    """The same as a part of another document, whose pointers begin at its own root."""
    whole = _schema(topic)
    whole.pop("$schema")
    whole.pop("$id")
    inlined: dict[str, Any] = _inlined(whole, whole.pop("$defs", {}))
    return inlined


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inlined(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
        return {name: _inlined(one, definitions) for name, one in node.items()}
    if isinstance(node, list):
        return [_inlined(one, definitions) for one in node]
    return node


def _published(node: Any) -> Any:
    """What other languages read too: their patterns, and numbers where decimals may be either."""
    if isinstance(node, list):
        return [_published(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "decimal":
        return _DECIMAL
    found = {name: _published(one) for name, one in node.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = found["pattern"].replace(r"\Z", "$")
    if isinstance(found.get("description"), str):
        found["description"] = re.sub("``", "", found["description"])
    return found
