"""The organisation of a simulated community, as the file that `patrol-cloud import` takes.

Owns what follows from the script: the tree above and below the neighbourhoods, outlines round their buildings, what
stands where, posts, routes, areas, members, what they carry and when they are on duty. The format is the cloud's.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from simulators.physics import METRES_PER_DEGREE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from simulators.script import Building, Community, Neighbourhood

_MARGIN_M: Final = 45.0
_BUILDING_M: Final = 14.0
SHIFT_H: Final = 12
_SCENE_M: Final = 30
"""The buildings of the community stand close together: a wider scene would have everybody at every fire at once."""
_CARRIED: Final = {"owntracks-armband": "armband", "kenwood-fleetsync": "radio", "kenwood-nexedge": "radio"}
Table = dict[str, Any]


def write(path: Path, community: Community, gateway: str, now: datetime) -> None:
    """Write the file. now: shifts begin at its full minute and last half a day."""
    path.write_text(json.dumps(sections(community, gateway, now), ensure_ascii=False, indent=1), encoding="utf-8")


def sections(community: Community, gateway: str, now: datetime) -> dict[str, list[Table]]:
    """Every section of the file."""
    return {
        "nodes": list(_nodes(community)),
        "places": list(_places(community, gateway)),
        "posts": [_post(community, number) for number in range(len(community.posts))],
        "routes": [_route(community, number) for number in range(len(community.beats))],
        "areas": [_area(neighbourhood) for neighbourhood in community.neighbourhoods],
        "members": [{"call_sign": m.call_sign, "node": m.neighbourhood} for m in community.members],
        "equipment": list(_equipment(community, gateway)),
        "pseudonyms": [{"pseudonym": m.pseudonym, "member": m.call_sign} for m in community.members if m.pseudonym],
        "shifts": list(_shifts(community, gateway, now)),
        "plans": list(_plans(community)),
    }


def outline(buildings: Iterable[Building], margin_m: float) -> Table:
    """A rectangle round some buildings as GeoJSON."""
    buildings = list(buildings)
    north = margin_m / METRES_PER_DEGREE
    east = north / math.cos(math.radians(buildings[0].lat))
    low_lat, high_lat = min(b.lat for b in buildings) - north, max(b.lat for b in buildings) + north
    low_lon, high_lon = min(b.lon for b in buildings) - east, max(b.lon for b in buildings) + east
    corners = [(low_lon, low_lat), (high_lon, low_lat), (high_lon, high_lat), (low_lon, high_lat), (low_lon, low_lat)]
    return {"type": "Polygon", "coordinates": [[[round(lon, 6), round(lat, 6)] for lon, lat in corners]]}


def _nodes(community: Community) -> Iterator[Table]:
    above = None
    everything = [b for n in community.neighbourhoods for b in n.buildings]
    for number, unit in enumerate(community.units):
        node: Table = {"code": unit.code, "parent": above, "kind": unit.kind, "name_zh": unit.zh, "name_en": unit.en}
        node |= {"population": unit.population, "settlement": unit.settlement}
        node["outline"] = outline(everything, _MARGIN_M * 2 * (len(community.units) - number))
        yield {key: value for key, value in node.items() if value is not None}
        above = unit.code
    for neighbourhood in community.neighbourhoods:
        node = {
            "code": neighbourhood.code,
            "parent": above,
            "kind": "community",
            "population": neighbourhood.population,
        }
        node |= {"name_zh": neighbourhood.zh, "name_en": neighbourhood.en}
        node["outline"] = outline(neighbourhood.buildings, _MARGIN_M)
        yield {key: value for key, value in node.items() if value is not None}
        for building in neighbourhood.buildings:
            yield {
                "code": building.key, "parent": neighbourhood.code, "kind": "building", "name_zh": building.zh,
                "name_en": building.en, "outline": outline([building], _BUILDING_M), "lat": building.lat,
                "lon": building.lon,
            }  # fmt: skip


def _places(community: Community, gateway: str) -> Iterator[Table]:
    yield {
        "gateway": gateway,
        "node": community.units[-1].code if community.units else community.neighbourhoods[0].code,
    }
    for placed in community.devices():
        moves = not placed.place.floor
        where = placed.place.neighbourhood.code if moves else placed.place.building.key
        yield {"gateway": gateway, "device": placed.id, "node": where}


def _building(community: Community, key: str) -> Building:
    return next(b for n in community.neighbourhoods for b in n.buildings if b.key == key)


def _post(community: Community, number: int) -> Table:
    post = community.posts[number]
    building = _building(community, post.place)
    return {
        "code": post.code, "node": post.place, "name_zh": post.zh, "name_en": post.en, "lat": building.lat,
        "lon": building.lon, "radius_m": post.radius_m, "headcount": post.headcount, "grace_s": post.grace_s,
    }  # fmt: skip


def _route(community: Community, number: int) -> Table:
    beat = community.beats[number]
    buildings = [_building(community, key) for key in beat.places]
    return {
        "code": beat.code, "node": beat.neighbourhood, "name_zh": beat.zh, "name_en": beat.en,
        "checkpoints": [{"name": b.zh, "lat": b.lat, "lon": b.lon, "radius_m": 25} for b in buildings],
        "revisit_s": beat.revisit_min * 60,
    }  # fmt: skip


def _area(neighbourhood: Neighbourhood) -> Table:
    return {
        "code": f"{neighbourhood.code}-area", "node": neighbourhood.code, "name_zh": neighbourhood.zh,
        "name_en": neighbourhood.en, "outline": outline(neighbourhood.buildings, _MARGIN_M), "revisit_s": 1800,
    }  # fmt: skip


def _equipment(community: Community, gateway: str) -> Iterator[Table]:
    posts = {post.terminal: post.code for post in community.posts if post.terminal}
    worn = {each for member in community.members for each in (member.armband, member.radio)}
    for placed in community.devices():
        if placed.profile in _CARRIED and placed.id in worn:  # a radio that nobody carries stands in a room
            kind, node = _CARRIED[placed.profile], placed.place.neighbourhood.code
            yield {"device": f"{gateway}/{placed.id}", "kind": kind, "node": node}
        elif placed.id in posts:
            node = placed.place.building.key
            yield {"device": f"{gateway}/{placed.id}", "kind": "terminal", "node": node, "post": posts[placed.id]}


def _shifts(community: Community, gateway: str, now: datetime) -> Iterator[Table]:
    begins = now.astimezone(UTC).replace(second=0, microsecond=0)
    for member in community.members:
        shift = {
            "member": member.call_sign, "post": member.post, "route": member.beat,
            "armband": f"{gateway}/{member.armband}" if member.armband else None,
            "radio": f"{gateway}/{member.radio}" if member.radio else None,
            "starts_at": begins.isoformat(), "ends_at": (begins + timedelta(hours=SHIFT_H)).isoformat(),
        }  # fmt: skip
        yield {key: value for key, value in shift.items() if value is not None}


def _plans(community: Community) -> Iterator[Table]:
    """A plan for fires in the neighbourhoods; everything else goes by the built-in ones."""
    steps = [
        ("拨打 119 并报告位置", "Call 119 and say where"),
        ("派最近的力量到场确认", "Send the nearest to look"),
        ("切断燃气和电源", "Cut gas and power"),
        ("组织人员疏散，清点人数", "Clear the building and count"),
    ]
    for neighbourhood in community.neighbourhoods:
        yield {
            "node": neighbourhood.code, "category": "fire", "name_zh": "社区火情处置",
            "name_en": "Fire in the community",
            "checklist": [{"zh": zh, "en": en} for zh, en in steps], "scene_m": _SCENE_M,
        }  # fmt: skip
