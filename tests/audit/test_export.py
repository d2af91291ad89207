"""The trail as a file: whole, safe to open, and never more than was asked for."""

import csv
import io
import json
from datetime import timedelta

import httpx
import pytest

from app.audit import queries as trail
from app.audit import trail as audit
from app.audit.export import COLUMNS, Format, cell
from app.models import utcnow
from app.resources import Resources
from tests.support.factories import SignedIn, sign_in


async def write(resources: Resources, *targets: str, action: str = "tested") -> None:
    async with resources.unit_of_work() as session:
        for target in targets:
            audit.record(session, action, "thing", target, actor="=cmd|' /C calc'!A0")
            await session.flush()


async def export(client: httpx.AsyncClient, root: SignedIn, **params: str | int) -> httpx.Response:
    answer = await client.get("/api/admin/audit/export", params=params, headers=root.headers)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("\n=1", r"'\n=1"),
        ("＝1+1", "'＝1+1"),
        ("a\u202eb\x00", r"a\u202eb\x00"),
        ("alice@example.org", "alice@example.org"),
        (None, ""),
        (4711, "4711"),
    ],
)
def test_no_cell_is_taken_for_a_formula(value: object, written: str) -> None:
    assert cell(value) == written


async def test_a_table_holds_every_row_with_quotes_and_commas_where_they_belong(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    odd = 'a "quoted", one; with\nlines and Ümläuts'
    await write(resources, odd, "plain")
    answer = await export(client, root)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    first, *rows = csv.reader(io.StringIO(answer.content.decode(), newline=""))
    assert tuple(first) == COLUMNS
    assert [row[COLUMNS.index("target")] for row in rows] == [odd.replace("\n", r"\\n").replace("\\\\", "\\"), "plain"]
    assert {row[COLUMNS.index("actor")] for row in rows} == {"'=cmd|' /C calc'!A0"}


async def test_an_export_is_read_in_steps_and_goes_on_after_its_most(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "BATCH", 2)
    monkeypatch.setattr(trail, "MAX_ROWS", 5)
    await write(resources, *(str(number) for number in range(7)))
    seen: list[dict[str, object]] = []
    for _ in range(2):
        answer = await export(
            client, root, format="ndjson", action="tested", after=int(str(seen[-1]["id"])) if seen else 0
        )
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        found = [json.loads(line) for line in answer.text.splitlines()]
        assert len(found) <= 5
        seen += found
    assert [row["target"] for row in seen] == [str(number) for number in range(7)]


async def test_what_is_written_while_an_export_goes_on_is_not_in_it(resources: Resources, root: SignedIn) -> None:
    await write(resources, "before")
    wanted = trail.AuditFilter()
    async with resources.unit_of_work() as session:
        last = await trail.begin_export(session, wanted, Format.NDJSON, after=0, admin=root.user)
    await write(resources, "after")
    parts = [part async for part in trail.export(resources, wanted, Format.NDJSON, after=0, last=last)]
    assert [json.loads(line)["target"] for line in "".join(parts).splitlines()] == ["before"]


async def test_exporting_is_an_act_with_what_was_asked_for(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    await export(client, root, actor="root@example.org", outcome="ok", format="ndjson")
    page = await client.get("/api/admin/audit", params={"action": "audit_exported"}, headers=root.headers)
    (entry,) = page.json()["entries"]
    assert (entry["actor"], entry["target"]) == ("root@example.org", "ndjson")
    assert entry["detail"] == "actor=root@example.org, outcome=ok"


async def test_rows_are_found_by_who_what_when_and_how_it_ended(
    client: httpx.AsyncClient, resources: Resources, root: SignedIn
) -> None:
    alice = await sign_in(resources)
    await client.get("/api/admin/users", headers=alice.headers)
    await client.post(f"/api/admin/users/{alice.user.id}/promote", headers=root.headers)
    soon = (utcnow() + timedelta(minutes=1)).isoformat()
    for params, found in (
        ({}, ["user_promoted", "request_refused"]),
        ({"actor": "Alice@example.org"}, ["request_refused"]),
        ({"actor": str(root.user.id)}, ["user_promoted"]),
        ({"actor": "ali\0"}, []),
        ({"action": "user_promoted"}, ["user_promoted"]),
        ({"target_kind": "user", "target": str(alice.user.id)}, ["user_promoted"]),
        ({"outcome": "not_admin"}, ["request_refused"]),
        ({"since": soon}, []),
        ({"until": soon}, ["user_promoted", "request_refused"]),
    ):
        answer = await client.get("/api/admin/audit", params=params, headers=root.headers)
        assert [entry["action"] for entry in answer.json()["entries"]] == found, params
    first = (await client.get("/api/admin/audit", params={"limit": 1}, headers=root.headers)).json()
    second = await client.get("/api/admin/audit", params={"limit": 1, "before": first["next"]}, headers=root.headers)
    assert [entry["action"] for entry in second.json()["entries"]] == ["request_refused"]


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_time_that_is_none_is_refused(client: httpx.AsyncClient, root: SignedIn, time: str) -> None:
    answer = await client.get("/api/admin/audit", params={"since": time}, headers=root.headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "since")
