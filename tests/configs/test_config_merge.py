"""Templates joined with a gateway's own text: who wins, where each part comes from, that the result is normal."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud import catalogue
from cloud.devices.configs import service as configs
from cloud.devices.configs.edits import diff, with_devices, with_key, without
from cloud.devices.configs.faults import ConfigFault, Fault, line_of
from cloud.devices.configs.merge import Layer, Rendered, effective
from cloud.devices.configs.models import NewTemplate
from cloud.devices.configs.rules import TemplateKind
from cloud.errors import Forbidden, Invalid, NotFound
from firmware_specs.tomltext import render
from tests.cloud.cloud_support import NOW
from tests.configs.configs_support import LINE, LOBBY, OWN, ordered, propose, technician, town

if TYPE_CHECKING:
    from cloud.db import Database

SMOKE = "generic-smoke-senml"
TOP = Layer(TemplateKind.NODE, "/", f"[outbox]\nbudget_mb = 100\ncommit_linger_ms = 10\n{LINE}")
HOUSE = Layer(TemplateKind.NODE, "/1/", '[outbox]\nbudget_mb = 200\n[[connectors]]\nkind = "mqtt"\nqos = 0\n')
TYPE = Layer(
    TemplateKind.TYPE, SMOKE, '[metrics]\nbind = "127.0.0.1:9000"\n[device]\nconnector = "mqtt"\ndrill = true\n'
)
BARE = f'[[devices]]\nid = "lobby"\nprofile = "{SMOKE}"\naddress = "s/lobby"\n'


def joined(own: str, *layers: Layer) -> Rendered:
    return effective("gw-1", own, layers, catalogue.profiles())


def test_the_later_wins_key_by_key_and_each_part_names_its_source() -> None:
    made = joined(f"{BARE}drill = false\n[outbox]\ncommit_linger_ms = 5\n", TOP, HOUSE, TYPE)
    table = tomllib.loads(made.text)
    assert table["outbox"] == {"budget_mb": 200, "commit_linger_ms": 5}
    assert table["connectors"] == [{"kind": "mqtt", "qos": 0, "url": "mqtt://127.0.0.1:1883"}]
    assert table["devices"][0]["drill"] is False
    assert table["devices"][0]["connector"] == "mqtt"
    assert made.sources == {
        "outbox.budget_mb": ("node /1/",), "outbox.commit_linger_ms": ("own",),
        "connectors.mqtt": ("node /", "node /1/"), "metrics.bind": (f"type {SMOKE}",), "devices.lobby": ("own",),
    }  # fmt: skip


def test_a_type_matters_only_where_there_is_a_device_of_it() -> None:
    assert "metrics" not in joined(LINE, TYPE).text
    with pytest.raises(
        ConfigFault, match="template node / line 1: device: stands in the template of a device type only"
    ):
        joined("", Layer(TemplateKind.NODE, "/", "[device]\ndrill = true"))


def test_a_fault_of_a_template_names_the_template() -> None:
    with pytest.raises(ConfigFault) as caught:
        joined("", Layer(TemplateKind.NODE, "/", LINE + LOBBY.replace("smoke", "smok")))
    assert (caught.value.fault.source, caught.value.fault.key) == ("node /", "devices.lobby.profile")


def test_a_text_leaves_out_what_earlier_ones_give_and_the_result_says_so() -> None:
    given = Layer(TemplateKind.NODE, "/", f"{TOP.text}{BARE}location = 'hall'\n[metrics]\n")
    made = joined('without = ["devices.lobby", "outbox.budget_mb", "metrics"]\n', given, HOUSE, TYPE)
    assert made.text.startswith("# left out: devices.lobby, metrics, outbox.budget_mb\n")
    table = tomllib.loads(made.text)
    assert table.keys() == {"connectors", "outbox"}, "no device of the type is left, so its template gives nothing"
    assert table["outbox"] == {"commit_linger_ms": 10}
    assert made.left_out == {
        "devices.lobby": ("node /", "own"), "outbox.budget_mb": ("node /1/", "own"), "metrics": ("own",),
    }  # fmt: skip
    assert not made.left_out.keys() & made.sources.keys()
    alone = joined(f'without = ["devices.lobby"]\n{BARE}', given, TYPE)
    assert "location" not in alone.text, "what the text says of the same part stands alone"
    assert (dict(alone.left_out), alone.sources["devices.lobby"]) == ({}, ("own",))
    lower = Layer(TemplateKind.NODE, "/1/", 'without = ["outbox"]\n')
    assert "[outbox]" not in joined("", TOP, lower).text
    again = joined("[outbox]\nbudget_mb = 50\n", TOP, lower)
    assert tomllib.loads(again.text)["outbox"] == {"budget_mb": 50}
    assert not again.left_out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('without = "devices.lobby"', "line 1: without: is a list of parts"),
        ('without = ["devices"]', r"line 1: without: 'devices' is nothing that can be left out; name one such as"),
        ('without = ["devices.a b"]', "'devices.a b' is nothing that can be left out"),
        ('without = ["outbox.budget"]', r"'outbox.budget' is nothing .* left out \(did you mean \"budget_mb\"\?\)"),
        ("without = [{x = 1}]", "is nothing that can be left out"),
    ],
)  # fmt: skip
def test_what_can_not_be_left_out_is_a_fault_at_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigFault, match=said):
        joined(text)
    with pytest.raises(ConfigFault, match="template node /1/ line 1: without"):
        joined("", Layer(TemplateKind.NODE, "/1/", text))


def test_a_part_is_left_out_of_a_text_that_gives_it_itself_too() -> None:
    text = without(f"{OWN}[outbox]\nbudget_mb = 50\n", ["devices.lobby", "outbox.budget_mb"])
    assert tomllib.loads(text) == {
        "without": ["devices.lobby", "outbox.budget_mb"], "connectors": tomllib.loads(LINE)["connectors"],
    }  # fmt: skip
    assert without(text, ["devices.lobby"]) == text
    assert tomllib.loads(without(text, ["connectors.mqtt", "uplink"]))["without"][0] == "connectors.mqtt"


words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
plain = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), words
)
tables = st.dictionaries(words, plain, max_size=4)


@given(st.dictionaries(words, st.one_of(plain, tables, st.lists(tables, min_size=1, max_size=3)), max_size=5))
def test_what_is_written_reads_the_same(table: dict[str, Any]) -> None:
    assert tomllib.loads(render(table)) == table
    assert render(tomllib.loads(render(table))) == render(table)


parts = ["location", "uplink", "outbox", "metrics", "connectors", "devices", "device", "gateway", "id", "name", "kind",
         "url", "profile", "connector", "address", "drill", "budget_mb", "bind", "baud", "without"]  # fmt: skip
anything = st.recursive(
    st.one_of(plain, st.dates(), st.sampled_from(["mqtt", "serial", SMOKE, "inf"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(parts), inner, max_size=5)),
    max_leaves=12,
)


def written(value: object) -> str:
    """Any value as TOML writes it inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return value.isoformat() if isinstance(value, date) else render({"x": value}).removeprefix("x = ").strip()


def came_of(own: str, *layers: Layer) -> Rendered | Fault:
    """What became of a text: a configuration or what is wrong with it, and nothing else."""
    try:
        return joined(own, *layers)
    except ConfigFault as e:
        return e.fault


@given(st.dictionaries(st.sampled_from(parts), anything, max_size=5), st.sampled_from(list(TemplateKind)))
def test_any_text_is_a_configuration_or_a_fault_S8(table: dict[str, Any], kind: TemplateKind) -> None:
    text = "".join(f"{key} = {written(value)}\n" for key, value in table.items())
    for made in (came_of(text, TOP), came_of(BARE, TOP, Layer(kind, SMOKE, text))):
        if isinstance(made, Fault):
            assert 0 <= made.line <= text.count("\n") + 1
            assert made.reason
        else:
            assert tomllib.loads(made.text)


@given(st.text(max_size=60))
def test_any_characters_are_a_configuration_or_a_fault_S8(text: str) -> None:
    made = came_of(text)
    assert made.reason if isinstance(made, Fault) else made.hash


ids = st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True), unique=True, max_size=5)


@given(ids, st.randoms())
def test_the_order_of_what_a_person_writes_does_not_matter(names: list[str], dice: Any) -> None:  # noqa: ANN401
    blocks = [LINE, *(LOBBY.replace("lobby", name) for name in names)]
    mixed = blocks.copy()
    dice.shuffle(mixed)
    first, second = joined("".join(blocks)), joined("".join(mixed))
    assert (first.text, first.hash) == (second.text, second.hash)
    assert joined(first.text).text == first.text, "the result of the result is itself"
    assert diff(first.text, second.text) == ""


@given(ids, ids)
def test_devices_added_and_taken_out_are_just_those(there: list[str], change: list[str]) -> None:
    own = LINE + "".join(LOBBY.replace("lobby", name) for name in there)
    entries = [tomllib.loads(LOBBY.replace("lobby", name))["devices"][0] for name in change]
    after = {device["id"] for device in tomllib.loads(with_devices(own, entries, [])).get("devices", [])}
    assert after == set(there) | set(change)
    left = {device["id"] for device in tomllib.loads(with_devices(own, [], change)).get("devices", [])}
    assert left == set(there) - set(change)


def test_a_key_is_set_and_taken_out() -> None:
    text = with_key(OWN, "devices.lobby.location", "hall")
    assert tomllib.loads(text)["devices"][0]["location"] == "hall"
    assert tomllib.loads(with_key(text, "devices.lobby.location", None)) == tomllib.loads(OWN)
    assert tomllib.loads(with_key("", "connectors.line-1.baud", 9600)) == {
        "connectors": [{"name": "line-1", "baud": 9600}]
    }
    for key in ("devices", "outbox", "devices.lobby", "a.b"):
        with pytest.raises(ConfigFault, match="is no key"):
            with_key(OWN, key, 1)


def test_the_line_of_a_key() -> None:
    assert [line_of(OWN, key) for key in ("connectors[0].url", "devices[0].id", "devices[0]", "outbox.budget_mb")] == [
        4, 7, 6, 0
    ]  # fmt: skip


def test_a_template_changes_no_gateway_before_it_is_taken_over_S4(db: Database) -> None:
    street, house = town(db, "gw-1")
    propose(db, "gw-1")
    with db.begin() as tx:
        template = NewTemplate(kind=TemplateKind.NODE, key=street, text="[outbox]\nbudget_mb = 100\n")
        with pytest.raises(NotFound):
            configs.put_template(tx, technician(house), template, NOW)
        given = NewTemplate(kind=TemplateKind.TYPE, key=SMOKE, text="[device]\ndrill = true")
        with pytest.raises(Forbidden):
            configs.put_template(tx, technician(house), given, NOW)
        with pytest.raises(Invalid, match=r"template node .*line 1: outbx: unknown key"):
            configs.put_template(tx, technician(), template.model_copy(update={"text": "[outbx]\n"}), NOW)
        assert configs.put_template(tx, technician(), template, NOW).version == 1
        assert configs.put_template(tx, technician(), template, NOW).version == 1
        assert configs.list_templates(tx, technician(house)) == [], "what lies above is not seen"
        assert configs.get_config(tx, technician(), "gw-1", NOW).standing.behind
    order = ordered(db, "gw-1")
    assert order is not None
    assert order[0].version == 1
    assert propose(db, "gw-1").version == 2
    with db.begin() as tx:
        assert not configs.get_config(tx, technician(), "gw-1", NOW).standing.behind


def test_a_gateway_begins_with_what_its_node_gives(db: Database) -> None:
    street, house = town(db, "gw-1")
    with db.begin() as tx:
        assert configs.bootstrap(tx, "gw-1", house, NOW) is None
        template = NewTemplate(kind=TemplateKind.NODE, key=street, text=LINE)
        configs.put_template(tx, technician(), template, NOW)
        first = configs.bootstrap(tx, "gw-1", house, NOW)
        assert first is not None
        assert (first.version, first.own, "connectors" in first.text) == (1, "", True)
        assert configs.bootstrap(tx, "gw-1", house, NOW) == first
