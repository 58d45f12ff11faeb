"""The shapes of what the API takes and gives, as JSON schemas for ``openapi``."""

from __future__ import annotations

from typing import Any

from bystander.web.films.film import KEEPS, MOST_STRENGTH, STYLES

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
STATES = ["uploading", "checking", "queued", "analysing", "rendering", "ready", "failed", "cancelled"]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def a_list(of: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": of, **more}


def an_object(required: dict[str, Schema], optional: dict[str, Schema] | None = None, *, more: bool = False) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": more}


def or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


PERSON: Schema = {"type": "integer", "minimum": 0, "description": "a person's number from people"}
SPANS = a_list(a_list(NUMBER, minItems=2, maxItems=2))
STRENGTH: Schema = {"type": "number", "minimum": 1, "maximum": MOST_STRENGTH, "description": "factor on the margin"}
LOOKS = {"style": {"enum": list(STYLES)}, "strength": STRENGTH}
FILM_SETTINGS = an_object({}, {"keep": {"enum": list(KEEPS)}, **LOOKS})
PLACE = {
    "from_s": {"type": "number", "minimum": 0},
    "to_s": NUMBER,
    "x": {"type": "number", "description": "px of the upright picture"},
    "y": NUMBER,
    "w": {"type": "number", "exclusiveMinimum": 0},
    "h": {"type": "number", "exclusiveMinimum": 0},
}
AREA = an_object({"id": TEXT, **PLACE, "verdict": {"enum": ["cover", "keep"]}})
SCHEMAS: dict[str, Schema] = {
    "Error": an_object({"error": an_object({"code": TEXT, "message": TEXT})}),
    "Limits": an_object(
        {"max_bytes": WHOLE, "max_seconds": NUMBER, "keep_hours": NUMBER, "max_films": WHOLE, "chunk_bytes": WHOLE,
         "styles": a_list(TEXT), "keeps": a_list(TEXT), "max_live": WHOLE,
         "explain": FLAG, "watch": FLAG, "version": TEXT}
    ),
    "Film": an_object(
        {"id": TEXT, "name": TEXT, "size": WHOLE, "received": WHOLE, "state": {"enum": STATES},
         "progress": {"type": "number", "minimum": 0, "maximum": 1}, "fps": NUMBER, "left_s": or_null(NUMBER),
         "error": or_null(an_object({"code": TEXT, "message": TEXT})),
         "info": or_null(an_object({"width": WHOLE, "height": WHOLE, "duration_s": NUMBER, "fps": NUMBER,
                                    "frames": WHOLE, "audio": FLAG})),
         "settings": FILM_SETTINGS, "expires_at": {"type": "string", "format": "date-time"}, "people": WHOLE,
         "edits_version": WHOLE, "rendered_version": WHOLE, "queue_place": WHOLE, "warnings": a_list(TEXT),
         "report": {"enum": ["", "waiting", "ready", "failed"]}}
    ),
    "Films": an_object({"films": a_list(ref("Film"))}),
    "People": an_object({"people": a_list(ref("Person")), "duration_s": NUMBER}),
    "Person": an_object(
        {"id": PERSON, "name": TEXT, "thumbnail": or_null(TEXT), "kept": FLAG, "kept_share": NUMBER, "auto": FLAG,
         "choice": {"enum": ["auto", "keep", "cover"]}, "spans": SPANS, "unsure": SPANS, "evidence": NUMBER,
         "size": NUMBER}
    ),
    "Boxes": an_object(
        {"frames": a_list(an_object({"t": NUMBER, "faces": a_list(an_object(
            {"id": PERSON, "xyxy": a_list(NUMBER, minItems=4, maxItems=4), "kept": FLAG}))}))}
    ),
    "Edits": an_object(
        {"version": WHOLE, "rendered_version": WHOLE, "can_undo": FLAG, "can_redo": FLAG,
         "choices": {"type": "object", "additionalProperties": {"enum": ["keep", "cover"]}},
         "boxes": a_list(AREA), "zones": a_list(AREA),
         "splits": a_list(an_object({"person": PERSON, "at_s": NUMBER, "new": PERSON})),
         "merges": a_list(a_list(PERSON, minItems=2, maxItems=2))}
    ),
    "Status": {"type": "object"},
    "LiveList": an_object({"live": a_list(ref("Status")), "max_live": WHOLE}, more=True),
    "LiveAnswer": an_object({"id": TEXT, "sdp": TEXT, "type": {"const": "answer"}}, more=True),
}  # fmt: skip


def edit(op: str, **values: Schema) -> Schema:
    return an_object({"op": {"const": op}, **values})


BODIES: dict[str, Schema] = {
    "NewFilm": an_object({"name": {"type": "string", "minLength": 1, "maxLength": 4096, "pattern": r"\S"},
                          "size": {"type": "integer", "minimum": 1}}, {"settings": FILM_SETTINGS}),
    "Edit": {"oneOf": [
        edit("choose", person=PERSON, verdict={"enum": ["keep", "cover", "auto"]}),
        edit("add_box", **PLACE),
        edit("add_zone", **PLACE),
        edit("remove", id={"type": "string", "description": "of a box or zone"}),
        edit("split", person=PERSON, at_s=NUMBER),
        edit("merge", people=a_list(PERSON, minItems=2, maxItems=2)),
        edit("undo"),
        edit("redo"),
    ]},
    "Render": an_object({}, {"settings": an_object({}, LOOKS)}),
    "Nothing": an_object({}),
    "Why": an_object({"person": PERSON, "at_s": NUMBER}),
    "Offer": an_object({"sdp": TEXT, "type": {"const": "offer"}}, {"settings": {"type": "object"}}, more=True),
    "Message": an_object({"kind": TEXT}, more=True),
    "Choices": an_object({}, {"keep": a_list(WHOLE), "cover": a_list(WHOLE), "default": {"enum": ["keep", "cover"]}},
                         more=True),
    "Panic": an_object({"on": FLAG}, more=True),
}  # fmt: skip
