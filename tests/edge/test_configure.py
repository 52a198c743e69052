"""What a managed gateway does with orders: pure decisions as a machine, what is remembered, and its own file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.binding import make_plan
from edge.config import Document, load_config
from edge.configure_keep import FOLDER, STATE, Keep, install
from edge.configure_rules import (
    MAX_STARTS,
    Action,
    Kept,
    Outcome,
    Seen,
    Trial,
    Version,
    adopted,
    at_start,
    judge,
    lacking,
    left,
    reverted_by_hand,
    touched,
    tried,
)
from firmware_specs.errors import ConfigError, StoreError
from firmware_specs.gateway_document import hash_of
from firmware_specs.wire_fleet import ConfigOrder, ConfigPhase

if TYPE_CHECKING:
    from pathlib import Path

BASE = 'gateway = "gw-1"\nstate_dir = "state"\nmanaged = true\n[uplink]\nurl = "mqtts://cloud.example"\nca = "ca.pem"\n'
LINE = '[[connectors]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1"\n'


def order(version: int, text: str) -> ConfigOrder:
    return ConfigOrder(version, hash_of(text), text)


def document(version: int, text: str) -> Version:
    return Version(version, hash_of(text))


def trial(version: int, text: str, *, boot: str = "b", until_s: float = 100.0, must: tuple[str, ...] = ()) -> Trial:
    return Trial(version, hash_of(text), 60, boot, until_s, 0, must)


# ---- decisions


def test_an_order_is_tried_adopted_refused_or_known() -> None:
    kept = Kept(committed=document(3, "a"))
    assert judge(kept, order(4, "b"), 0).action is Action.TRY
    assert judge(kept, order(4, "a"), 0).action is Action.ADOPT, "only its number is new: nothing changes over"
    same = judge(kept, order(3, "a"), 0)
    assert same.told is not None
    assert (same.action, same.told.phase) == (Action.NOTHING, ConfigPhase.IN_FORCE)
    older = judge(kept, order(2, "b"), 0)
    assert older.told is not None
    assert (older.action, older.told.reason) == (
        Action.REFUSE, "version 2 is older than 3, which was taken already"
    )  # fmt: skip
    other = judge(kept, order(3, "b"), 0).told
    assert other is not None
    assert other.reason == "version 3 was taken already, with another text"
    torn = judge(kept, ConfigOrder(4, "0" * 16, "b"), 0)
    assert torn.action is Action.REFUSE


def test_what_was_left_is_not_tried_again_before_a_new_number() -> None:
    kept = left(Kept(committed=document(1, "a")), ConfigPhase.REVERTED, document(2, "b"), "no answer", 5)
    again = judge(kept, order(2, "b"), 9)
    assert (again.action, again.told) == (
        Action.NOTHING,
        Outcome(ConfigPhase.REVERTED, 2, hash_of("b"), "no answer", 5),
    )
    assert judge(kept, order(3, "b"), 9).action is Action.TRY


def test_a_refusal_within_a_trial_is_told_when_the_trial_is_over() -> None:
    kept = tried(Kept(committed=document(1, "a")), trial(2, "b"), 1)
    refused = left(kept, ConfigPhase.REFUSED, document(3, "c"), "no such key", 2)
    over = adopted(tried(refused, trial(2, "b"), 2), document(2, "b"), 3)
    assert (over.committed, over.told.version, over.told.phase) == (document(2, "b"), 3, ConfigPhase.REFUSED)


def test_a_start_within_a_trial_goes_on_begins_anew_or_leaves() -> None:
    now = trial(2, "b")
    same, _ = at_start(now, "b", 50.0)
    assert same is not None
    assert (same.starts, same.until_s) == (1, 100.0), "the rest of its time"
    other, _ = at_start(now, "another", 5.0)
    assert other is not None
    assert (other.starts, other.until_s) == (1, 65.0), "another boot has another clock"
    assert at_start(now, "b", 100.0) == (None, "the agent was away until its trial of 60 s was over")
    worn: Trial | None = now
    for _ in range(MAX_STARTS):
        assert worn is not None
        worn, _ = at_start(worn, f"boot-{worn.starts}", 0.0)
    assert worn is not None
    assert at_start(worn, "z", 0.0) == (None, "the agent was started 4 times within its trial")


def test_a_trial_wants_the_cloud_and_the_connectors_that_it_touched() -> None:
    must = touched({"a": "up", "b": "connecting", "c": "up"}, ["a", "b"], None)
    assert must == ("a",)
    assert touched({"a": "down"}, ["a", "c"], trial(2, "b", must=("a",))) == ("a",), (
        "what an earlier trial brought down"
    )
    now = trial(2, "b", must=must)
    assert lacking(now, Seen(False, "refused", {"a": "up"})) == "the cloud did not answer: refused"
    assert lacking(now, Seen(True, "up", {"a": "no route"})) == "connector a was up before and is not: no route"
    assert lacking(now, Seen(True, "up", {})) == "connector a was up before and is not: not there"
    assert lacking(now, Seen(True, "up", {"a": "up", "b": "down", "new": "down"})) == ""


def test_going_back_by_hand() -> None:
    kept = Kept(document(3, "c"), document(2, "b"))
    back, why = reverted_by_hand(kept, 1)
    assert (back.committed, back.previous, back.told.phase, why) == (document(2, "b"), None, ConfigPhase.REVERTED, "")
    assert judge(back, order(3, "c"), 2).action is Action.NOTHING, "the cloud's order does not undo it"
    assert reverted_by_hand(back, 2)[1] == "there is no earlier configuration"
    tried_back, _ = reverted_by_hand(tried(kept, trial(4, "d"), 1), 2)
    assert (tried_back.trial, tried_back.committed) == (None, document(3, "c"))


orders = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.sampled_from(("good", "bad"))), max_size=20)


@given(orders)
def test_versions_never_fall_and_the_same_order_again_does_nothing(run: list[tuple[int, str, str]]) -> None:
    kept = Kept()
    for version, text, fate in run:
        newest = kept.committed.version if kept.committed else -1
        wanted, decision = order(version, text), judge(kept, order(version, text), 0)
        here = document(version, text)
        if decision.action is Action.ADOPT or (decision.action is Action.TRY and fate == "good"):
            kept = adopted(tried(kept, trial(version, text), 0), here, 0)
            assert kept.committed == here
        elif decision.action is Action.TRY:
            kept = left(tried(kept, trial(version, text), 0), ConfigPhase.REVERTED, here, "no", 0)
        assert (kept.committed.version if kept.committed else -1) >= newest
        if decision.action is not Action.REFUSE:
            assert judge(kept, wanted, 0).action is Action.NOTHING


# ---- what is remembered


def test_what_is_remembered_is_read_again_and_what_nothing_points_at_goes(tmp_path: Path) -> None:
    install(tmp_path, 1, "a")
    install(tmp_path, 9, "z")
    keep = Keep(tmp_path)
    assert keep.read().committed == document(1, "a"), "one that is in force stays"
    for version, text in ((2, "b"), (3, "c")):
        keep.stage(document(version, text), text)
        keep.write(adopted(keep.read(), document(version, text), 0))
    keep.sweep(keep.read())
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["2.toml", "3.toml", STATE]
    (tmp_path / FOLDER / "3.toml").write_text("other")
    with pytest.raises(ConfigError, match="not that of hash"):
        keep.text(document(3, "c"))


@pytest.mark.parametrize("torn", [b"", b"{", b'{"committed": 3}', b"\xff"])
def test_a_state_that_cannot_be_read_is_set_aside(tmp_path: Path, torn: bytes) -> None:
    keep = Keep(tmp_path)
    keep.write(Kept())
    (keep.folder / STATE).write_bytes(torn)
    assert keep.read() == Kept()
    keep.set_aside()
    assert [path.name.split(".corrupt-")[0] for path in keep.folder.iterdir()] == ["state"]


def test_a_disk_that_refuses_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"state\.json"):
        Keep(tmp_path).write(Kept())


# ---- the gateway's own file


def managed(folder: Path, more: str = "") -> Path:
    path = folder / "gateway.toml"
    path.write_text(BASE + more)
    return path


def test_a_document_is_joined_with_the_file_and_certificates_stay_local(tmp_path: Path) -> None:
    path = managed(tmp_path, "[outbox]\nbudget_mb = 50\ncommit_linger_ms = 7\n")
    text = f'location = "hall"\n[uplink]\nurl = "mqtts://other.example"\n[outbox]\nbudget_mb = 60\n{LINE}'
    config = load_config(path, Document("configuration 1", text)).config
    assert (config.uplink.url, config.uplink.ca, config.location) == (
        "mqtts://other.example", tmp_path / "ca.pem", "hall"
    )  # fmt: skip
    assert (config.outbox.budget_mb, config.outbox.commit_linger_ms) == (60, 7)
    assert [connector.name for connector in config.connectors] == ["mqtt"]
    assert load_config(path).config.connectors == (), "nothing is in force yet"
    install(tmp_path / "state", 1, text)
    assert load_config(path).config == config
    assert make_plan(path).config == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('gateway = "gw-2"', "configuration 1: gateway: is the gateway's own"),
        ('[uplink]\nkey = "k.pem"', "configuration 1: uplink.key: unknown key"),
        ('[uplink]\nurl = "mqtt://127.0.0.1"', "configuration 1: uplink: ca, cert and key need an mqtts:// url"),
        ("[[devices]]\n", r"configuration 1: devices\[0\].\w+: is missing"),
    ],
)
def test_a_document_that_cannot_be_served_names_itself(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(managed(tmp_path), Document("configuration 1", text))


def test_a_managed_file_has_no_connectors_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="connectors: come from the cloud"):
        load_config(managed(tmp_path, LINE))
