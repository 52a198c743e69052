"""The pages of the audit chain: what was done, newest first; whether the chain holds; and its export."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi.responses import Response, StreamingResponse

from cloud.console.pages import needing, page_router, render
from cloud.console.ui import Ui
from cloud.errors import Invalid
from cloud.org import audit
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.routes import audit_lines
from cloud.org.rules import Permission
from cloud.paging import at, decode_cursor, encode_cursor

PAGE: Final = 50
FIELDS: Final = ("actor", "action", "target", "from")

pages = page_router()


Auditor = Annotated[Ui, needing(Permission.AUDIT)]


def chosen_of(ui: Ui) -> tuple[dict[str, str], audit.Query]:
    """What the filters say. Raises Invalid on a day that is none."""
    chosen = {name: ui.query.get(name, "").strip()[:100] for name in FIELDS}
    from_ms = None
    if chosen["from"]:
        try:
            begins = datetime.fromisoformat(chosen["from"]).replace(tzinfo=ui.zone_info)
        except (ValueError, OverflowError) as e:
            raise Invalid("from") from e
        from_ms = round(begins.timestamp() * 1000)
    return chosen, audit.Query(chosen["actor"], chosen["action"], chosen["target"], from_ms)


def _page(ui: Ui, state: State, verdict: tuple[int, int | None] | None = None) -> Response:
    chosen, wanted = chosen_of(ui)
    cursor = ui.query.get("cursor", "")
    before = int(decode_cursor(cursor, int)[0]) if cursor else 0
    with state.db.read() as tx:
        rows = audit.rows_after(tx, ui.who, wanted, before, PAGE + 1, newest_first=True)
    shown = [{**row, "at": at(row["at"])} for row in rows[:PAGE]]
    following = ui.link(cursor=encode_cursor(rows[PAGE - 1]["id"])) if len(rows) > PAGE else ""
    export = ui.link(cursor=None).replace("/audit", "/audit/export", 1)
    return render(
        ui, "audit.html", rows=shown, chosen=chosen, any=any(chosen.values()), cursor=cursor, next=following,
        first=ui.link(cursor=None), export=export, verdict=verdict,
    )  # fmt: skip


@pages.get("/audit")
def audit_page(ui: Auditor, state: State) -> Response:
    """What was done, newest first."""
    return _page(ui, state)


@pages.post("/audit")
def verify(ui: Auditor, state: State) -> Response:
    """Verify the whole chain, and say how it stands."""
    with state.db.read() as tx:
        verdict = audit.verify_all(tx)
    return _page(ui, state, verdict)


@pages.get("/audit/export")
def export(ui: Auditor, state: State) -> Response:
    """The rows as JSON lines, oldest first."""
    _, wanted = chosen_of(ui)
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return StreamingResponse(audit_lines(state, ui.who, wanted), media_type="application/x-ndjson", headers=headers)
