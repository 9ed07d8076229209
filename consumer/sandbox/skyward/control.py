"""The stand-in's back door, for tests and the demo: `/_control/...` on the same port, JSON.

GET    /_control/journal                          flushes; {"file", "seq", "stored_seq"}
GET    /_control/districts                        every district, as NewDistrict's answer
POST   /_control/districts                        a NewDistrict; also begins an old one anew
GET    /_control/districts/{d}                    counts of what it holds and answered
GET    /_control/districts/{d}/gradebook          NDJSON: line items, then results
DELETE /_control/districts/{d}/gradebook          forgets them
GET    /_control/districts/{d}/settings           all of them; PATCH changes some
GET    /_control/districts/{d}/faults             those to come; POST adds one; DELETE clears
POST   /_control/districts/{d}/acts               one Act of a teacher or the office
POST   /_control/districts/{d}/secret             {"revoke": true}: a new secret, {"client_secret"}
DELETE /_control/districts/{d}/tokens             every token expires now
"""

from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from consumer.sandbox.roster import RosterError
from consumer.sandbox.skyward.acts import Act, perform
from consumer.sandbox.skyward.answers import bare_answer, json_answer
from consumer.sandbox.skyward.behaviour import Fault, Settings
from consumer.sandbox.skyward.district import District
from consumer.sandbox.skyward.gradebook import dump
from consumer.sandbox.skyward.refusal import Refusal, invalid, unknown
from consumer.sandbox.skyward.server import Skyward

PREFIX = "/_control/"
_ROWS_A_CHUNK = 2_000


class NewDistrict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A district to host. What is absent is `{name}-key`, `{name}-secret` or as at the start."""

    district: str
    client_id: str | None = None
    client_secret: str | None = None
    roster: str | None = None
    settings: dict[str, Any] = {}


class _Secret(msgspec.Struct, forbid_unknown_fields=True):
    revoke: bool = True


_act = msgspec.json.Decoder(Act)
_new_district = msgspec.json.Decoder(NewDistrict)
_fault = msgspec.json.Decoder(Fault)
_secret = msgspec.json.Decoder(_Secret)
_changes = msgspec.json.Decoder(dict[str, Any])
_row = msgspec.json.Encoder()


class Control:
    """Serves the back door of `skyward`; wrong requests get 400 or 404 with `{"error"}`."""

    def __init__(self, skyward: Skyward, settings: Settings) -> None:
        self._skyward = skyward
        self._settings = settings

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self._skyward.journal.flush()
        try:
            match request.path.removeprefix(PREFIX).split("/"):
                case ["journal"] if request.method == "GET":
                    return self._journal()
                case ["districts"]:
                    return self._districts(request.method, body)
                case ["districts", name, *rest] if name in self._skyward.districts:
                    district = self._skyward.districts[name]
                    if rest == ["gradebook"] and request.method == "GET":
                        return await _stream(district, request)
                    return self._district(district, request.method, rest, body)
                case _:
                    raise unknown(f"{request.method} {request.path} is no control")
        except Refusal as refusal:
            return json_answer(refusal.status, {"error": refusal.description})
        except (msgspec.DecodeError, RosterError) as error:
            return json_answer(400, {"error": str(error)})

    def _journal(self) -> web.Response:
        journal = self._skyward.journal
        content = {
            "file": str(journal.path),
            "seq": journal.seq,
            "stored_seq": journal.stored_seq,
        }
        return json_answer(200, content)

    def _districts(self, method: str, body: bytes) -> web.Response:
        if method == "GET":
            districts = self._skyward.districts.values()
            return json_answer(200, [_introduced(one) for one in districts])
        new = _new_district.decode(body)
        if not new.district or "/" in new.district or new.district == PREFIX.strip("/"):
            raise invalid(f"{new.district} cannot be a district's path")
        settings = {**msgspec.to_builtins(self._settings), **new.settings}
        district = self._skyward.add_district(
            new.district,
            client_id=new.client_id,
            client_secret=new.client_secret,
            roster=None if new.roster is None else Path(new.roster),
            settings=msgspec.convert(settings, Settings),
        )
        return json_answer(201, _introduced(district))

    def _district(
        self, district: District, method: str, rest: list[str], body: bytes
    ) -> web.Response:
        match method, rest:
            case "GET", []:
                return json_answer(200, _counted(district))
            case "DELETE", ["gradebook"]:
                district.empty_gradebook()
            case "GET", ["settings"]:
                return json_answer(200, district.settings)
            case "PATCH", ["settings"]:
                return json_answer(200, district.configure(_changes.decode(body)))
            case "GET", ["faults"]:
                return json_answer(200, district.faults.outstanding())
            case "POST", ["faults"]:
                district.faults.add(_fault.decode(body))
            case "DELETE", ["faults"]:
                district.faults.clear()
            case "POST", ["acts"]:
                self._act(district, body)
            case "POST", ["secret"]:
                revoke = _secret.decode(body or b"{}").revoke
                secret = district.desk.regenerate_secret(revoke=revoke)
                return json_answer(200, {"client_secret": secret})
            case "DELETE", ["tokens"]:
                district.desk.expire_all()
            case _:
                raise unknown(f"{method} {'/'.join(rest)} is no control of a district")
        return bare_answer(204)

    def _act(self, district: District, body: bytes) -> None:
        """Performs it and writes a journal line with the method ACT, for histories to be whole."""
        act = _act.decode(body)
        perform(act, district)
        journal = self._skyward.journal
        line = journal.open_line(district.name, "ACT", "")
        effect: dict[str, Any] = msgspec.to_builtins(act)
        line.operation = effect.pop("act")
        line.stored, line.stored_seq, line.effect = True, journal.next_stored(), effect
        journal.write(line)
        journal.flush()


def _introduced(district: District) -> dict[str, Any]:
    return {
        "district": district.name,
        "client_id": district.desk.client_id,
        "client_secret": district.desk.client_secret,
        "base_path": f"/{district.name}/",
        "token_path": f"/{district.name}/oauth/token",
    }


def _counted(district: District) -> dict[str, Any]:
    return {
        "district": district.name,
        "today": district.today(),
        "line_items": len(district.gradebook.line_items),
        "results": len(district.gradebook.results),
        "tokens_issued": district.desk.issued,
        "peak_concurrency": district.throttle.peak,
        "answers": [
            {"operation": operation, "status": status, "count": count}
            for (operation, status), count in sorted(district.answers.items(), key=str)
        ],
        "grading_periods": [
            {
                "sourced_id": period.sourced_id,
                "title": period.title,
                "start": period.start_date,
                "end": period.end_date,
                "closed": district.is_closed(period),
            }
            for period in sorted(district.sessions.values(), key=lambda one: one.start_date)
            if period.type == "gradingPeriod"
        ],
    }


async def _stream(district: District, request: web.BaseRequest) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await answer.prepare(request)
    rows: list[dict[str, Any]] = []
    for row in dump(district.gradebook):
        rows.append(row)
        if len(rows) == _ROWS_A_CHUNK:
            await answer.write(_row.encode_lines(rows))
            rows.clear()
    await answer.write(_row.encode_lines(rows))
    await answer.write_eof()
    return answer
