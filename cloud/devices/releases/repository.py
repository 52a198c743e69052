"""Writing the update repository: the root's ceremony, publications, and the renewal of what is signed online.

Owns the order in which files are written: each is whole before something names it, and the timestamp comes last, so a
reader between two writes finds what was in force before or what is in force after. Writers take a lock. Private keys
of root and targets come as a folder and are not kept. Knows no database.
"""

from __future__ import annotations

import os
import re
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from cloud.devices.releases import keys
from cloud.devices.releases.files import Files, S, bytes_of, listed_in, meta_of, sha256_of, version_of
from cloud.errors import Conflict, Invalid, NotFound
from firmware_specs.durable import remove_file, sync_folder
from firmware_specs.errors import ConfigError, UpdateRejected
from firmware_specs.release import ANY_PLATFORM, MAX_TARGET_BYTES, Release, Target, release_of, target_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from securesystemslib.signer import CryptoSigner, Key

    from cloud.devices.releases.rules import Lifetimes

ONLINE: Final = ("snapshot", "timestamp")
_CHUNK: Final = 1024 * 1024
_PLATFORM: Final = re.compile(r"[a-z0-9]+-[a-z0-9_]+")


class Signed(NamedTuple):
    """How the signatures of a draft stand.

    missing: of the threshold. installed: it is in force now. with_root: it comes into force with the root that waits.
    """

    role: str
    version: int
    have: int
    missing: int
    installed: bool
    with_root: bool = False


class Repository(Files):
    """See the module. lifetimes: of what is signed from now on."""

    def __init__(self, folder: Path, lifetimes: Lifetimes) -> None:
        super().__init__(folder)
        self._lifetimes = lifetimes

    # root: the ceremony

    def draft_root(
        self, root_keys: Sequence[Key], threshold: int, targets_keys: Sequence[Key], targets_threshold: int,
        now: datetime,
    ) -> Path:  # fmt: skip
        """The first root as a draft, with new online keys. Raises Conflict when a root is in force."""
        with self.locked():
            if self.exists:
                raise Conflict(f"{self.folder}: a root is in force already; change it by `release root-change`")
            root = Root(expires=self._until("root", now), consistent_snapshot=True)
            for role, which, least in (
                ("root", root_keys, threshold), ("targets", targets_keys, targets_threshold),
            ):  # fmt: skip
                for key in which:
                    root.add_key(key, role)
                root.roles[role].threshold = least
            for role in ONLINE:
                root.add_key(keys.read_public(keys.make_key(self.keys, role, None), role), role)
            return self._stage_root(root)

    def change_root(
        self, *, add: Sequence[tuple[str, Key]] = (), remove: Sequence[str] = (), now: datetime,
        thresholds: dict[str, int] | None = None, online: bool = False,
    ) -> tuple[Path, bool]:  # fmt: skip
        """The next root as a draft: keys added and taken away, thresholds, new online keys, a new life in any case.

        Gives where it is, and whether it took the place of another draft.
        """
        with self.locked():
            root = self.root().signed
            instead = self.root_draft() is not None
            root.version += 1
            root.expires = self._until("root", now)
            for role, key in add:
                root.add_key(key, role)
            for keyid in remove:
                _revoke(root, keyid)
            if online:
                for role in ONLINE:
                    new = keys.read_public(keys.make_key(self.keys, role, None), role)
                    for keyid in list(root.roles[role].keyids):
                        root.revoke_key(keyid, role)
                    root.add_key(new, role)
            for role, least in (thresholds or {}).items():
                root.roles[role].threshold = least
            return self._stage_root(root), instead

    def _stage_root(self, root: Root) -> Path:
        for role in ("root", "targets"):
            have, least = len(root.roles[role].keyids), root.roles[role].threshold
            if least < 1 or have < least:
                raise Invalid(f"{role}: a threshold of {least}, and {have} keys: nobody could sign")
        path = self.staged / "root.json"
        self.write(path, Metadata(root))
        return path

    def sign_root(self, folders: Sequence[Path], ask: keys.Ask | None, now: datetime) -> Signed:
        """Sign the draft with the root keys of folders; once there are enough, of the old root too, it is in force.

        Raises NotFound without a draft, Invalid when none of the keys counts, Conflict when it has expired meanwhile,
        or when neither the published targets nor their draft would be signed by enough of the new keys.
        """
        with self.locked():
            draft = self.root_draft()
            if draft is None:
                raise NotFound(f"{self.staged / 'root.json'}: no root waits for signatures")
            if draft.signed.is_expired(now):
                raise Conflict(f"root {draft.signed.version}: the draft expired {draft.signed.expires:%Y-%m-%d}; "
                               "make it anew")  # fmt: skip
            before = self.root().signed if self.exists else None
            known = {**(before.keys if before else {}), **draft.signed.keys}
            wanted = set(draft.signed.roles["root"].keyids) | set(before.roles["root"].keyids if before else ())
            made = keys.signers(folders, "root", {k: key for k, key in known.items() if k in wanted}, ask)
            if not made:
                raise Invalid(f"{_listed(folders)}: none of the root's keys is there")
            for signer in made:
                draft.sign(signer, append=True)
            self.write(self.staged / "root.json", draft)
            result = draft.signed.get_root_verification_result(before, draft.signed_bytes, draft.signatures)
            have, missing = len(result.signed), max(result.first.missing, result.second.missing)
            if not result:
                return Signed("root", draft.signed.version, have, missing, False)
            self._install_root(draft, now)
            return Signed("root", draft.signed.version, have, 0, True)

    def _install_root(self, draft: Metadata[Root], now: datetime) -> None:
        new = draft.signed
        if self.published:
            # Whoever reads between two of these writes finds signatures that both roots accept. Only where a targets
            # key was lost there are none such, and a reader is refused for that moment.
            roots, targets = [self.root().signed, new], self.targets_draft()
            if targets and not self._accepts(new, self.targets()) and self._accepts(new, targets):
                self._put_in_force(roots, targets, now)
            self._check(new, "targets", self.targets(), "first publish with the old and the new targets keys; when an "
                        "old one is lost, with the new ones")  # fmt: skip
            self._sign_online(roots, now)
            self._check(new, "snapshot", self.snapshot(), "its online key is not in keys/")
            self._check(new, "timestamp", self.timestamp(), "its online key is not in keys/")
        self.write(self.metadata / f"{new.version}.root.json", draft)
        remove_file(self.staged / "root.json")
        for role in ONLINE:
            used = {f"{role}-{keyid[: keys.SHOWN]}" for keyid in new.roles[role].keyids}
            for path in self.keys.glob(f"{role}-*"):
                if path.stem not in used:
                    path.unlink()

    @staticmethod
    def _accepts(root: Root, targets: Metadata[Targets]) -> bool:
        return bool(root.get_verification_result("targets", targets.signed_bytes, targets.signatures))

    def _check(self, root: Root, role: str, held: Metadata[Any], hint: str) -> None:
        try:
            root.verify_delegate(role, held.signed_bytes, held.signatures)
        except UnsignedMetadataError as e:
            raise Conflict(f"root {root.version}: {role} would not be signed by enough of its keys; {hint}") from e

    # targets

    def add(self, source: Path, path: str, release: Release, now: datetime) -> Target:
        """Put a file among the draft's targets. Raises Invalid, OSError."""
        custom = msgspec.to_builtins(release)
        try:
            release_of(target_name(path), custom)
        except UpdateRejected as e:
            raise Invalid(e.reason) from e
        if release.platform != ANY_PLATFORM and not _PLATFORM.fullmatch(release.platform):
            raise Invalid(f"{release.platform!r} is no platform such as linux-aarch64, nor {ANY_PLATFORM!r}")
        size = source.stat().st_size
        if not 0 < size <= MAX_TARGET_BYTES:
            raise Invalid(f"{source}: {size} bytes; a target has 1 to {MAX_TARGET_BYTES}")
        with self.locked():
            draft = self._targets_draft(now)
            digest = sha256_of(source)
            target = Target(path, size, digest, release)
            place = self.file_of(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name(f".{place.name}.new")
            with source.open("rb") as data, beside.open("wb") as out:
                shutil.copyfileobj(data, out, _CHUNK)
                out.flush()
                os.fsync(out.fileno())
            if sha256_of(beside) != digest:
                beside.unlink()
                raise Invalid(f"{source}: it changed while it was read")
            beside.replace(place)
            sync_folder(place.parent)
            draft.signed.targets[path] = TargetFile(size, {"sha256": digest}, path, {"custom": custom})
            self._stage_targets(draft, now)
            return target

    def remove(self, path: str, now: datetime) -> None:
        """Take a target out of the draft; its bytes stay until nothing lists them. Raises NotFound."""
        with self.locked():
            draft = self._targets_draft(now)
            if draft.signed.targets.pop(path, None) is None:
                raise NotFound(f"{path}: no such target")
            self._stage_targets(draft, now)

    def _targets_draft(self, now: datetime) -> Metadata[Targets]:
        """What is being made ready, else the published targets with the next version and a new life."""
        draft = self.targets_draft()
        if draft is None:
            targets = self.targets().signed if self.published else Targets()
            targets.version += self.published
            draft = Metadata(targets)
        if not draft.signatures or draft.signed.is_expired(now):
            self._begin_anew(draft, now)
        return draft

    def _begin_anew(self, draft: Metadata[Targets], now: datetime) -> None:
        """Whoever has signed signs again, and its life begins now."""
        draft.signatures.clear()
        draft.signed.expires = self._until("targets", now)

    def _stage_targets(self, draft: Metadata[Targets], now: datetime) -> None:
        self._begin_anew(draft, now)
        self.write(self.staged / "targets.json", draft)

    def publish(self, folders: Sequence[Path], ask: keys.Ask | None, now: datetime) -> Signed:
        """Sign the draft with the targets keys of folders and put it in force once enough have signed.

        Without a draft the published targets get a new life. What only a root that waits accepts waits with it.
        """
        with self.locked():
            root = self.root().signed
            draft = self._targets_draft(now)
            made = keys.signers(folders, "targets", self._targets_keys(root), ask)
            if not made:
                raise Invalid(f"{_listed(folders)}: none of the targets keys is there")
            for signer in made:
                draft.sign(signer, append=True)
            self.write(self.staged / "targets.json", draft)
            result = root.get_verification_result("targets", draft.signed_bytes, draft.signatures)
            signed = Signed("targets", draft.signed.version, len(result.signed), result.missing, bool(result))
            if result:
                self._put_in_force([root], draft, now)
                return signed
            waiting = self.root_draft()
            return signed._replace(with_root=bool(waiting and self._accepts(waiting.signed, draft)))

    def _put_in_force(self, roots: Sequence[Root], draft: Metadata[Targets], now: datetime) -> None:
        for target in listed_in(draft.signed):
            if not self.file_of(target).is_file():
                raise Conflict(f"{target.path}: its bytes are not at {self.file_of(target)}")
        self.write(self.metadata / f"{draft.signed.version}.targets.json", draft)
        self._sign_online(roots, now, targets=draft)
        remove_file(self.staged / "targets.json")
        self._sweep_targets()

    def _targets_keys(self, root: Root) -> dict[str, Key]:
        """Those in force, and those of a root that waits: targets that both accept bridge the change."""
        waiting = self.root_draft()
        roots = [root, *([waiting.signed] if waiting else [])]
        return {keyid: each.keys[keyid] for each in roots for keyid in each.roles["targets"].keyids}

    # snapshot and timestamp: the online keys

    def renew(self, now: datetime, *, due: Iterable[str] = ONLINE) -> None:
        """Sign snapshot and timestamp again, or the timestamp alone."""
        with self.locked():
            self._sign_online([self.root().signed], now, timestamp_only="snapshot" not in set(due))

    def _sign_online(
        self, roots: Sequence[Root], now: datetime, *, targets: Metadata[Targets] | None = None,
        timestamp_only: bool = False,
    ) -> None:  # fmt: skip
        """Write a snapshot of the targets, then the timestamp that makes it count."""
        there = self.published
        timestamp = self.timestamp().signed if there else Timestamp()
        if timestamp_only:
            snapshot_meta = timestamp.snapshot_meta
        else:
            snapshot = self.snapshot().signed if there else Snapshot()
            held = targets or self.targets()
            snapshot.version += there
            snapshot.expires = self._until("snapshot", now)
            snapshot.meta["targets.json"] = meta_of(held.signed.version, bytes_of(held))
            signed = self._signed(Metadata(snapshot), "snapshot", roots)
            self.write(self.metadata / f"{snapshot.version}.snapshot.json", signed)
            snapshot_meta = meta_of(snapshot.version, bytes_of(signed))
        timestamp.version += there
        timestamp.expires = self._until("timestamp", now)
        timestamp.snapshot_meta = snapshot_meta
        self.write(self.metadata / "timestamp.json", self._signed(Metadata(timestamp), "timestamp", roots))
        self._sweep()

    def _signed(self, held: Metadata[S], role: str, roots: Sequence[Root]) -> Metadata[S]:
        known = {keyid: root.keys[keyid] for root in roots for keyid in root.roles[role].keyids}
        made: list[CryptoSigner] = keys.signers([self.keys], role, known)
        for signer in made:
            held.sign(signer, append=True)
        if not roots[0].get_verification_result(role, held.signed_bytes, held.signatures):
            raise ConfigError(self.keys, "", f"the {role} key that the root names is not there")
        return held

    def _sweep(self) -> None:
        """Delete metadata that nothing has named for a while: the last versions stay for whoever reads just now."""
        for role in ("targets", "snapshot"):
            found = sorted(version_of(path) for path in self.metadata.glob(f"*.{role}.json"))
            for version in found[:-8]:
                (self.metadata / f"{version}.{role}.json").unlink(missing_ok=True)

    def _sweep_targets(self) -> None:
        """Delete the bytes that no list of targets which is still there names."""
        lists = [self.load(path, Targets) for path in self.metadata.glob("*.targets.json")]
        named = {self.file_of(target) for each in lists for target in listed_in(each.signed)}
        for path in self.targets_folder.rglob("*"):
            if path.is_file() and path not in named:
                path.unlink()

    def _until(self, role: str, now: datetime) -> datetime:
        return (now + timedelta(milliseconds=self._lifetimes.of(role))).replace(microsecond=0)


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


def _revoke(root: Root, keyid: str) -> None:
    """Take a key away from root or targets, named by the beginning of its id. Raises NotFound, Invalid."""
    found = [(each, role) for role in ("root", "targets") for each in root.roles[role].keyids if each.startswith(keyid)]
    if len(keyid) < 6 or not found:
        raise NotFound(f"{keyid!r}: no root or targets key has an id that begins so (6 digits or more)")
    if len({each for each, _ in found}) > 1:
        raise Invalid(f"{keyid!r}: several keys have ids that begin so")
    for each, role in found:
        root.revoke_key(each, role)
