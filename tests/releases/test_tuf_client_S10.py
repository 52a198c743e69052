"""S10: what a gateway takes of an update repository, and every known way to have it take something else."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cloud.devices.releases import keys
from cloud.errors import Conflict
from edge.tufclient import fetch, look
from firmware_specs.errors import LinkError, UpdateRejected
from firmware_specs.release import Release, ReleaseKind, Target, check_fits
from tests.releases.release_support import AGENT, Served, World, long_ago, now
from tests.support import wait_for
from tests.system.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "agent/agent-1.1.0.zip"


class Client:
    """A gateway that was enrolled with a root."""

    def __init__(self, folder: Path, served: Served, root: bytes) -> None:
        self.folder, self.served, self.root = folder, served, root
        self.seen: list[Target] = []
        self.told: list[tuple[int, int]] = []

    def fetch(self, target: str = NAME) -> Path:
        return fetch(
            self.folder / "state", self.root, self.served.metadata_url, self.served.targets_url, target,
            self.folder / "downloads", accept=self.seen.append, progress=lambda *told: self.told.append(told),
        )  # fmt: skip

    @property
    def part(self) -> Path:
        found = list((self.folder / "downloads").glob("*.part"))
        assert len(found) == 1
        return found[0]


@pytest.fixture
def client(tmp_path: Path, world: World, served: Served) -> Client:
    """Enrolled; the repository has one agent."""
    return Client(tmp_path / "gateway", served, world.whole(b"x" * 100_000))


def tamper(path: Path, **signed: object) -> None:
    """Change what is signed and keep the signatures."""
    held = json.loads(path.read_text())
    held["signed"] |= signed
    path.write_text(json.dumps(held))


def test_S10_a_signed_target_is_fetched_once_and_told_of(client: Client, served: Served) -> None:
    path = client.fetch()
    assert path.read_bytes() == b"x" * 100_000
    assert path.name == hashlib.sha256(b"x" * 100_000).hexdigest()
    assert client.seen[0].release == AGENT
    assert client.told[-1] == (100_000, 100_000)
    asked = len([1 for at, _ in served.asked if at.startswith("/targets/")])
    assert client.fetch() == path
    assert len([1 for at, _ in served.asked if at.startswith("/targets/")]) == asked, "what is there is not fetched"
    assert look(client.folder / "state", client.root, served.metadata_url, NAME).size == 100_000


def test_S10_a_download_goes_on_where_it_stopped(client: Client, served: Served) -> None:
    def half(path: str) -> Iterator[bytes] | None:
        return iter([b"x" * 40_000]) if path.startswith("/targets/") else None

    served.answer = half
    with pytest.raises(LinkError, match="40000 of 100000"):
        client.fetch()
    assert client.part.stat().st_size == 40_000
    served.answer = lambda _path: None
    assert client.fetch().read_bytes() == b"x" * 100_000
    assert served.asked[-1][1] == "bytes=40000-"


def test_S10_a_part_that_rotted_is_fetched_anew(client: Client) -> None:
    downloads = client.folder / "downloads"
    downloads.mkdir(parents=True)
    digest = hashlib.sha256(b"x" * 100_000).hexdigest()
    (downloads / f"{digest}.part").write_bytes(b"y" * 50_000)
    assert client.fetch().read_bytes() == b"x" * 100_000


def test_S10_a_link_that_is_down_is_no_verdict(client: Client, served: Served) -> None:
    served.close()
    with pytest.raises(LinkError):
        client.fetch()


def test_S10_what_is_cut_short_is_the_links_fault(client: Client, served: Served) -> None:
    served.cut = 300
    with pytest.raises(LinkError, match="json: the answer broke off"):
        client.fetch()
    served.cut = 5000
    with pytest.raises(LinkError, match="broke off"):
        client.fetch()
    assert client.part.stat().st_size == 5000
    served.cut = None
    assert client.fetch().read_bytes() == b"x" * 100_000


def test_S10_rollback_to_metadata_seen_before_is_refused(client: Client, world: World) -> None:
    before = world.folder / "before"
    shutil.copytree(world.repository.metadata, before)
    world.add(b"newer", "agent/agent-1.2.0.zip", Release(ReleaseKind.AGENT, "agent", "1.2.0"))
    world.publish()
    client.fetch("agent/agent-1.2.0.zip")
    shutil.copytree(before, world.repository.metadata, dirs_exist_ok=True)
    with pytest.raises(UpdateRejected, match=r"timestamp|version"):
        client.fetch()


def test_S10_rollback_of_a_single_file_is_refused(client: Client, world: World) -> None:
    """The snapshot's number is fresh, what it names of the targets is older than what was seen."""
    client.fetch()
    old = world.repository.targets()
    world.add(b"newer", "agent/agent-1.2.0.zip", Release(ReleaseKind.AGENT, "agent", "1.2.0"))
    world.publish()
    client.fetch("agent/agent-1.2.0.zip")
    world.repository._sign_online([world.repository.root().signed], now(), targets=old)
    with pytest.raises(UpdateRejected, match="version"):
        client.fetch()


def test_S10_freeze_by_a_timestamp_that_is_never_renewed_is_refused(
    tmp_path: Path, world: World, served: Served
) -> None:
    root = world.whole()
    world.repository.renew(now() - timedelta(days=2), due=["timestamp"])
    client = Client(tmp_path / "gateway", served, root)
    with pytest.raises(UpdateRejected, match="frozen"):
        client.fetch()
    assert not (client.folder / "downloads").exists()
    world.repository.renew(now(), due=["timestamp"])
    assert client.fetch().read_bytes() == b"a bundle"


def test_S10_mix_and_match_of_two_snapshots_is_refused(client: Client, world: World) -> None:
    """Targets metadata of another moment under the name of the present one."""
    metadata = world.repository.metadata
    older = (metadata / "1.targets.json").read_bytes()
    world.add(b"newer", "agent/agent-1.2.0.zip", Release(ReleaseKind.AGENT, "agent", "1.2.0"))
    world.publish()
    (metadata / "2.targets.json").write_bytes(older)
    with pytest.raises(UpdateRejected, match="not to be trusted"):
        client.fetch()


def test_S10_expired_root_is_refused(tmp_path: Path, world: World, served: Served) -> None:
    root = world.begin(long_ago())
    world.add(b"a bundle")
    world.publish()
    with pytest.raises(UpdateRejected, match="frozen"):
        Client(tmp_path / "gateway", served, root).fetch()


def test_S10_wrong_model_is_refused_before_a_byte_of_it_comes(client: Client, served: Served) -> None:
    def accept(target: Target) -> None:
        check_fits(target.release, kind=ReleaseKind.FIRMWARE, model="smoke-3", version="1.1.0", agent="1.0")

    with pytest.raises(UpdateRejected, match="agent, not firmware"):
        fetch(
            client.folder, client.root, served.metadata_url, served.targets_url, NAME, client.folder, accept=accept
        )  # fmt: skip
    assert not [at for at, _ in served.asked if at.startswith("/targets/")]


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_S10_bad_signature_is_refused(client: Client, world: World, name: str) -> None:
    tamper(world.repository.metadata / name, expires="2999-01-01T00:00:00Z")
    with pytest.raises(UpdateRejected, match="not to be trusted"):
        client.fetch()


def test_S10_threshold_of_the_root_not_met_is_refused(client: Client, world: World) -> None:
    client.fetch()
    world.repository.change_root(now=now())
    world.sign_root(0)
    shutil.copy(world.repository.staged / "root.json", world.repository.metadata / "2.root.json")
    with pytest.raises(UpdateRejected, match="signed by 1/2"):
        client.fetch()


@pytest.mark.parametrize("what", ["/metadata/timestamp.json", "/metadata/1.targets.json", "/targets/"])
def test_S10_endless_data_is_refused(client: Client, served: Served, what: str) -> None:
    sent = itertools.count()

    def endless(path: str) -> Iterator[bytes] | None:
        if not path.startswith(what):
            return None
        return (b" " * 65536 for _ in sent)

    served.answer = endless
    with pytest.raises(UpdateRejected):
        client.fetch()
    assert next(sent) < 400, "it was not read to any end"
    downloads = client.folder / "downloads"
    assert sum(path.stat().st_size for path in downloads.glob("*")) <= 100_000 if downloads.exists() else True


def test_S10_other_bytes_of_the_same_length_are_refused(client: Client, served: Served) -> None:
    served.answer = lambda path: b"y" * 100_000 if path.startswith("/targets/") else None
    with pytest.raises(UpdateRejected, match="not those that are signed"):
        client.fetch()
    assert list((client.folder / "downloads").iterdir()) == []


def test_S10_over_tls_only_who_is_signed_by_the_given_authority_is_asked(tmp_path: Path, world: World) -> None:
    root = world.whole()
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    served = Served(world.repository.folder, authority.issue("updates"))
    try:
        for ca in (None, other.cert):
            with pytest.raises(LinkError, match="CERTIFICATE_VERIFY_FAILED"):
                look(tmp_path / "state", root, served.metadata_url, NAME, ca=ca)
        path = fetch(
            tmp_path / "state", root, served.metadata_url, served.targets_url, NAME, tmp_path / "d", ca=authority.cert
        )
        assert path.read_bytes() == b"a bundle"
    finally:
        served.close()


def test_two_who_want_the_same_target_fetch_it_once(client: Client, served: Served) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(path: str) -> Iterator[bytes] | None:
        if not path.startswith("/targets/"):
            return None

        def parts() -> Iterator[bytes]:
            yield b"x" * 50_000
            begun.set()
            go_on.wait(10)
            yield b"x" * 50_000

        return parts()

    served.answer = slowly
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.fetch)
        assert begun.wait(10)
        stamps = len(served.asked)
        second = pool.submit(client.fetch)
        wait_for(lambda: len(served.asked) > stamps, 10, "the second to ask for the metadata")
        go_on.set()
        assert first.result(10) == second.result(10)
    assert len([1 for at, _ in served.asked if at.startswith("/targets/")]) == 1


def test_a_reader_is_never_left_without_a_list_when_a_targets_key_was_lost(client: Client, world: World) -> None:
    """Nobody can sign with the lost key: root and list come into force together, and a gateway follows."""
    client.fetch()
    fresh = world.folder / "fresh"
    added = [("targets", keys.read_public(keys.make_key(fresh, "targets", None), "targets"))]
    gone = list(world.repository.root().signed.roles["targets"].keyids)
    world.repository.change_root(add=added, remove=gone, now=now())
    assert not world.sign_root(0).installed
    with pytest.raises(Conflict, match="with the new ones"):
        world.sign_root(1)
    assert world.repository.publish([fresh], None, now()).with_root
    assert client.fetch(), "what is in force has not changed"
    assert world.sign_root(1).installed
    assert client.fetch()
    assert world.repository.root().signed.roles["targets"].keyids == [added[0][1].keyid]


def test_a_draft_that_lay_around_gets_its_life_when_it_is_signed(world: World) -> None:
    world.begin()
    world.add(b"a bundle")
    late = now() + timedelta(days=100)
    assert world.publish(late).installed
    assert world.repository.expiries()["targets"] > late + timedelta(days=80)


def test_a_root_that_expired_before_enough_have_signed_is_refused(world: World) -> None:
    world.whole()
    world.repository.change_root(now=now())
    world.sign_root(0)
    with pytest.raises(Conflict, match="the draft expired"):
        world.sign_root(1, now() + timedelta(days=4000))


def test_what_no_list_names_any_more_is_deleted(world: World) -> None:
    world.begin()
    world.add(b"first")
    world.publish()
    bytes_of_first = world.repository.file_of(world.repository.listed()[0])
    world.add(b"second")
    world.publish()
    assert bytes_of_first.exists(), "a gateway that read the list before may be fetching it"
    for _ in range(8):
        world.publish()
    assert not bytes_of_first.exists()
    world.repository.change_root(online=True, now=now())
    world.sign_root(0)
    world.sign_root(1)
    assert len(list(world.repository.keys.glob("*.pem"))) == 2


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../b", "agent/none.zip", "a\x00b"])
def test_S10_a_target_that_is_not_signed_is_refused(client: Client, name: str) -> None:
    with pytest.raises(UpdateRejected):
        client.fetch(name)


def test_S10_plain_http_beyond_this_machine_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(UpdateRejected, match="loopback"):
        fetch(tmp_path, client.root, "http://updates.example/m/", "http://updates.example/t/", NAME, tmp_path)


def test_S10_key_rotation_of_root_works_for_who_was_away(client: Client, world: World) -> None:
    """Every root key is changed in two steps; a gateway of the first day follows, the old keys sign no more."""
    first = world.vaults
    fresh = [world.folder / f"fresh-{n}" for n in range(2)]
    added = [("root", keys.read_public(keys.make_key(vault, "root", None), "root")) for vault in fresh]
    gone = [keys.read_public(path, "root").keyid for path in world.root_keys]
    world.repository.change_root(add=added, remove=gone, online=True, now=now())
    for vault in (*first[:2], *fresh):
        signed = world.repository.sign_root([vault], None, now())
    assert signed.installed
    assert signed.version == 2
    assert client.fetch().read_bytes() == b"x" * 100_000
    assert (client.folder / "state" / "updates" / "metadata" / "root_history" / "2.root.json").exists()
    world.repository.change_root(now=now())
    with pytest.raises(Exception, match="none of the root's keys"):
        world.sign_root(0)


def test_S10_a_root_that_one_old_key_and_the_new_ones_sign_is_not_in_force(world: World) -> None:
    world.whole()
    fresh = world.folder / "fresh"
    added = [("root", keys.read_public(keys.make_key(fresh, "root", None), "root"))]
    gone = [keys.read_public(path, "root").keyid for path in world.root_keys[1:]]
    world.repository.change_root(add=added, remove=gone, now=now())
    assert not world.sign_root(0).installed
    assert not world.repository.sign_root([fresh], None, now()).installed, "the old root wants two of its own"
    assert world.sign_root(2).installed
