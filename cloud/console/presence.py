"""The pages of the presence board: posts worst first, coverage of areas and routes, one post with who is there.

A region that is live asks for its own part of the page, so that a change of one post does not count every cell again,
and so that who is at a post is looked up, and the look put on record, only when somebody opens the page.
"""

from __future__ import annotations

from typing import Final

from fastapi.responses import Response  # noqa: TC002 - FastAPI reads annotations

from cloud.console.forms import Id  # noqa: TC001 - FastAPI reads annotations
from cloud.console.pages import View, page_router, render
from cloud.console.ui import bar
from cloud.org import tree
from cloud.org.auth import State  # noqa: TC001 - FastAPI reads annotations
from cloud.org.rules import Permission
from cloud.presence import service
from cloud.presence.service import PostState
from cloud.state import now_ms

PAGE: Final = 50
SHOWN_COVERAGE: Final = 20
SHOWN_GAPS: Final = 3
SHOWN_MOMENTS: Final = 40
DAY_MS: Final = 86_400_000
PILLS: Final = {
    PostState.UNMANNED: "critical", PostState.UNDERSTAFFED: "major", PostState.UNKNOWN: "unknown",
    PostState.MANNED: "normal",
}  # fmt: skip
"""How a state looks."""

pages = page_router()


@pages.get("/presence")
def board(ui: View, state: State) -> Response:
    """Every post, worst first, and how well areas and routes are seen."""
    part = ui.query.pop("part", "")
    chosen = ui.query.get("state", "")
    wanted = (PostState(chosen),) if chosen in set(PostState) else ()
    now = now_ms()
    page = covered = counts = None
    with state.db.read() as tx:
        if part != "coverage":
            counts = service.counts(tx, ui.who)
            page = service.board(tx, ui.who, states=wanted, limit=PAGE, cursor=ui.query.get("cursor") or None)
        if part != "board":
            covered = service.coverage(tx, ui.who, now, from_ms=now - DAY_MS, to_ms=now, limit=SHOWN_COVERAGE).items
        nodes = tree.names(tx, {p.node for p in (page.items if page else ())} | {c.node for c in covered or ()})
    return render(
        ui, "presence.html", page=page, counts=counts, covered=covered, nodes=nodes, pills=PILLS, chosen=chosen,
        total=sum(counts.values()) if counts else 0, shown_gaps=SHOWN_GAPS,
        pieces=bar((PILLS[name], count) for name, count in counts.items()) if counts else [],
        next=ui.link(cursor=page.next_cursor) if page and page.next_cursor else "", first=ui.link(cursor=None),
    )  # fmt: skip


@pages.get("/presence/{post_id}")
def post_page(ui: View, state: State, post_id: Id) -> Response:
    """One post: how it stands, its history, and for those who may locate who is there."""
    live = ui.query.pop("part", "")
    who = None
    if ui.may(Permission.LOCATE) and not live:
        with state.db.begin() as tx:
            who = service.who(tx, ui.who, post_id, now_ms())
    with state.db.read() as tx:
        post = service.get_post(tx, ui.who, post_id)
        moments = service.history(tx, ui.who, post_id, limit=SHOWN_MOMENTS).items
        nodes = tree.names(tx, [post.node])
    return render(ui, "presence_post.html", post=post, who=who, moments=moments, nodes=nodes, pills=PILLS)
