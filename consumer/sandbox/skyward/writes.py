"""PUT and DELETE of line items and results: enforce, store, say what was stored."""

import uuid
from collections.abc import Container
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from consumer.sandbox.skyward.answers import bare_answer, json_answer
from consumer.sandbox.skyward.bodies import read_line_item, read_result
from consumer.sandbox.skyward.district import District
from consumer.sandbox.skyward.enforcement import check_class, line_item_to_store, result_to_store
from consumer.sandbox.skyward.gradebook import LineItem, Result, line_item_effect, result_effect
from consumer.sandbox.skyward.objects import Objects
from consumer.sandbox.skyward.operations import Route
from consumer.sandbox.skyward.refusal import Refusal, forbidden, invalid, unknown


class Written(NamedTuple):
    """The answer to a write and what it changed; effect is None for an object deleted."""

    answer: web.Response
    effect: dict[str, Any] | None


def write(
    district: District, route: Route, body: bytes, objects: Objects, now: float, *, store: bool
) -> Written:
    """Does what a PUT or DELETE asks, or a Refusal; with store False only answers as if.

    now: epoch seconds, the new object's dateLastModified.
    """
    if not district.settings.licensed:
        raise forbidden("the district has no LMS/OneRoster API licence: the API is read-only")
    match route.operation.name:
        case "putLineItem":
            return _put_line_item(district, route, body, objects, now, store=store)
        case "putResult":
            return _put_result(district, route, body, objects, now, store=store)
        case _:
            return _delete(district, route, store=store)


def _put_line_item(
    district: District, route: Route, body: bytes, objects: Objects, now: float, *, store: bool
) -> Written:
    supplied, gradebook = route.ids[0], district.gradebook
    sent = read_line_item(body, route.version, district.settings)
    sourced_id = _stored_id(district, supplied, sent.sourcedId, gradebook.line_items)
    item = line_item_to_store(district, sent, sourced_id, route.version, now)
    existed = sourced_id in gradebook.line_items
    if store:
        gradebook.put_line_item(item)
        if sourced_id != supplied:
            district.aliases[supplied] = sourced_id
    answer = _put_answer(district, supplied, item, existed=existed, objects=objects)
    return Written(answer, line_item_effect(item))


def _put_result(
    district: District, route: Route, body: bytes, objects: Objects, now: float, *, store: bool
) -> Written:
    supplied, gradebook = route.ids[0], district.gradebook
    sent = read_result(body, route.version, district.settings)
    sourced_id = _stored_id(district, supplied, sent.sourcedId, gradebook.results)
    result = result_to_store(district, sent, sourced_id, route.version, now)
    existed = sourced_id in gradebook.results
    if store:
        gradebook.put_result(result)
        if sourced_id != supplied:
            district.aliases[supplied] = sourced_id
    answer = _put_answer(district, supplied, result, existed=existed, objects=objects)
    return Written(answer, result_effect(result))


def _stored_id(
    district: District,
    supplied: str,
    in_body: str | msgspec.UnsetType,
    existing: Container[str],
) -> str:
    """The sourcedId under which the object of a PUT lies, or will lie."""
    aliases = district.aliases
    stored = aliases.get(supplied, supplied)
    named = supplied if isinstance(in_body, msgspec.UnsetType) else in_body
    if named != supplied and aliases.get(named, named) != stored:
        raise invalid(f"sourcedId {named} in the body is not {supplied} of the path")
    if district.settings.allocates_ids and stored not in existing:
        return str(uuid.uuid4())
    return stored


def _put_answer(
    district: District, supplied: str, stored: LineItem | Result, *, existed: bool, objects: Objects
) -> web.Response:
    settings = district.settings
    status = settings.put_status or (200 if existed else 201)
    says = "pair" if settings.allocates_ids else settings.put_body
    if status == 204 or says == "nothing":
        return bare_answer(status)
    if says == "pair":
        pair = {"suppliedSourcedId": supplied, "allocatedSourcedId": stored.sourced_id}
        return json_answer(status, {"sourcedIdPairs": [pair]})
    if isinstance(stored, LineItem):
        return json_answer(status, {"lineItem": objects.line_item(stored)})
    return json_answer(status, {"result": objects.result(stored)})


def _delete(district: District, route: Route, *, store: bool) -> Written:
    if district.settings.delete_status == 405:
        raise Refusal(
            405, "unsupportedoperation", "nothing can be deleted here", {"Allow": "GET, PUT"}
        )
    sourced_id, gradebook = route.ids[0], district.gradebook
    if route.operation.name == "deleteLineItem":
        item = gradebook.line_items.get(sourced_id)
        if item is None:
            raise unknown(f"lineItem {sourced_id} is unknown")
        check_class(district, item.class_id)
        if store:
            gradebook.delete_line_item(sourced_id)
    else:
        result = gradebook.results.get(sourced_id)
        if result is None:
            raise unknown(f"result {sourced_id} is unknown")
        check_class(district, result.line_item.class_id)
        if store:
            gradebook.delete_result(sourced_id)
    return Written(bare_answer(district.settings.delete_status), None)
