"""`patrol-cloud release`: the ceremony of the update repository in small steps, each of which says what comes next.

Owns the words at the command line. Keys of root and targets are named by the folder that they lie in, such as a mounted
stick; passphrases are asked for, or come by the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from firmware_specs.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuf.api.metadata import Metadata, Root

    from cloud.config import Config
    from cloud.devices.releases.repository import Repository, Signed

app = typer.Typer(
    help="Releases: the signed update repository of agents and firmware.", no_args_is_help=True, add_completion=False,
    rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
PASSPHRASE: Final = "PATROL_RELEASE_PASSPHRASE"  # noqa: S105 - the name of a variable
ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="cloud.toml")]
Keys = Annotated[
    list[Path],
    typer.Option("--keys", help="A folder of private keys, such as a mounted stick; may be repeated."),
]
Public = Annotated[list[Path] | None, typer.Option(help="A public key file; may be repeated.")]
Default = Path("cloud.toml")


@app.command()
def key(
    role: Annotated[str, typer.Argument(help="root or targets.")],
    to: Annotated[Path, typer.Option(help="The folder that it is made in; best on a medium that is locked away.")],
    plain: Annotated[bool, typer.Option("--plain", help="Do not encrypt it: a file of mode 0600.")] = False,
) -> None:
    """Make a key pair for root or targets. Needs no configuration: it may be done on a machine without network."""
    from cloud.devices.releases.keys import make_key  # noqa: PLC0415

    if role not in {"root", "targets"}:
        raise typer.BadParameter(f"{role!r} is none of root, targets", param_hint="ROLE")
    secret = None if plain else _new_passphrase()
    made = make_key(to, role, secret)
    print(f"private key: {made.with_suffix('.pem')}")
    print(f"public key:  {made}")
    print("next: copy only the .pub file to the server, and name it in `patrol-cloud release init`.")


@app.command()
def init(
    root_key: Annotated[list[Path], typer.Option(help="A public key file of root; repeat it for each.")],
    targets_key: Annotated[list[Path], typer.Option(help="A public key file of targets; repeat it for each.")],
    threshold: Annotated[int, typer.Option(min=2, help="How many root keys have to sign.")] = 2,
    targets_threshold: Annotated[int, typer.Option(min=1, help="How many targets keys have to sign.")] = 1,
    config: ConfigFile = Default,
) -> None:
    """Draft the first root; makes the online keys of snapshot and timestamp."""
    from cloud.devices.releases.keys import read_public  # noqa: PLC0415

    def draft(files: Repository, now: Any) -> Path:  # noqa: ANN401 - a datetime
        return files.draft_root(
            [read_public(path, "root") for path in root_key], threshold,
            [read_public(path, "targets") for path in targets_key], targets_threshold, now,
        )  # fmt: skip

    path = _do(config, draft, "release.root-draft", "root/1")
    print(f"drafted: {path}; {len(root_key)} root keys, {threshold} of them have to sign")
    if len(root_key) == threshold:
        print("careful: when one of these root keys is lost, no root can be signed any more, and every gateway has to "
              "be visited to believe another; name one more key than have to sign.")  # fmt: skip
    print("next: each holder runs `patrol-cloud release root-sign --keys FOLDER`.")


@app.command("root-change")
def root_change(  # noqa: PLR0917 - one parameter each of the command
    add_root: Public = None,
    add_targets: Public = None,
    remove: Annotated[list[str] | None, typer.Option(help="A key to take away, by the beginning of its id.")] = None,
    threshold: Annotated[int | None, typer.Option(min=2, help="How many root keys have to sign.")] = None,
    targets_threshold: Annotated[int | None, typer.Option(min=1)] = None,
    new_online_keys: Annotated[bool, typer.Option(help="New keys of snapshot and timestamp too.")] = False,
    config: ConfigFile = Default,
) -> None:
    """Draft the next root: other keys or thresholds, and in any case a new life."""
    from cloud.devices.releases.keys import read_public  # noqa: PLC0415

    added = [("root", read_public(path, "root")) for path in add_root or ()]
    added += [("targets", read_public(path, "targets")) for path in add_targets or ()]
    wanted = {"root": threshold, "targets": targets_threshold}
    path, instead = _do(
        config,
        lambda files, now: files.change_root(
            add=added, remove=remove or (), online=new_online_keys, now=now,
            thresholds={role: least for role, least in wanted.items() if least},
        ),
        "release.root-draft", "root/next",
    )  # fmt: skip
    print(f"drafted: {path}")
    if instead:
        print("careful: it takes the place of the draft before, whose changes and signatures are gone.")
    print("next: enough holders of the old root's keys, and of the new one's, run `release root-sign`.")


@app.command("root-sign")
def root_sign(keys: Keys, config: ConfigFile = Default) -> None:
    """Sign the drafted root with the root keys of a folder; with enough signatures it is in force."""
    done = _do(config, lambda files, now: files.sign_root(keys, _ask, now), "release.root-sign", "root")
    _told(done, "publish what is added by `patrol-cloud release publish --keys FOLDER`.", "root-sign")


@app.command()
def add(  # noqa: PLR0917 - one parameter each of the command
    file: Annotated[Path, typer.Argument(help="The bundle or firmware.", exists=True, dir_okay=False)],
    kind: Annotated[str, typer.Option(help="agent or firmware.")],
    version: Annotated[str, typer.Option(help="Such as 1.4.2 or 2.0.0-rc.1.")],
    model: Annotated[str, typer.Option(help="`model` of the device profile's [firmware].")] = "agent",
    path: Annotated[
        str | None, typer.Option(help="The target's path; agent/FILE or firmware/MODEL/FILE when left out.")
    ] = None,
    requires: Annotated[str, typer.Option(help="The least agent version that may take it.")] = "",
    platform: Annotated[str, typer.Option(help="Such as linux-aarch64.")] = "any",
    notes: Annotated[str, typer.Option(help="For people.")] = "",
    config: ConfigFile = Default,
) -> None:
    """Put a file among what is published next. Nothing is in force before `publish`."""
    from firmware_specs.release import Release, ReleaseKind  # noqa: PLC0415

    if kind not in set(ReleaseKind):
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(ReleaseKind)}", param_hint="--kind")
    release = Release(ReleaseKind(kind), model, version, requires, platform, notes)
    name = path or (f"agent/{file.name}" if kind == "agent" else f"firmware/{model}/{file.name}")
    made = _do(config, lambda files, now: files.add(file, name, release, now), "release.add", f"target/{name}", version)
    print(f"added: {made.path}, {made.size} bytes, SHA-256 {made.sha256}")
    if kind == "firmware" and model not in (known := _models(config)):
        print(f"careful: no profile that this cloud knows has firmware of the model {model!r}{nearest(model, known)}")
    print("next: `patrol-cloud release publish --keys FOLDER` with the targets key.")


@app.command()
def remove(path: Annotated[str, typer.Argument(help="The target's path.")], config: ConfigFile = Default) -> None:
    """Take a target out of what is published next."""
    _do(config, lambda files, now: files.remove(path, now), "release.remove", f"target/{path}")
    print(f"removed: {path}; in force with `patrol-cloud release publish --keys FOLDER`.")


@app.command()
def publish(keys: Keys, config: ConfigFile = Default) -> None:
    """Sign what was added with the targets keys of a folder and put it in force. Without changes: a new life."""
    done = _do(config, lambda files, now: files.publish(keys, _ask, now), "release.publish", "targets")
    if done.with_root:
        print(f"targets {done.version}: signed by enough keys of the root that waits, and comes into force with it")
        print("next: enough holders of root keys run `patrol-cloud release root-sign --keys FOLDER`.")
        return
    _told(done, "gateways are ordered to it by a campaign.", "publish")
    files, now = _open(config)
    root = files.root().signed
    if root.is_expired(now):
        print(f"careful: root {root.version} expired {root.expires:%Y-%m-%d}; gateways refuse every update until there "
              "is another: `release root-change`, then `root-sign`.")  # fmt: skip


@app.command()
def renew(config: ConfigFile = Default) -> None:
    """Sign snapshot and timestamp again now; the worker does it by itself long before they expire."""
    _do(config, lambda files, now: files.renew(now), "release.renew", "timestamp")
    print("renewed: snapshot and timestamp")


@app.command()
def show(
    config: ConfigFile = Default, as_json: Annotated[bool, typer.Option("--json", help="Machine output.")] = False
) -> None:
    """What is published and drafted, and when it expires."""
    files, now = _open(config)
    expiries = files.expiries() if files.exists else {}
    drafted, root = files.drafted(), files.root_draft()
    if as_json:
        print(json.dumps({
            "expires": {role: when.isoformat() for role, when in expiries.items()},
            "targets": [target.path for target in files.listed()],
            "draft": None if drafted is None else [target.path for target in drafted],
        }))  # fmt: skip
        return
    if not files.exists and root is None:
        print("no root is in force; begin with `patrol-cloud release key` and `release init`.")
        return
    for role, when in expiries.items():
        left = (when - now).total_seconds() / 86400
        left_days = f"{left:.1f} days left" if left > 0 else "EXPIRED: gateways refuse every update"
        print(f"{role:10} expires {when:%Y-%m-%d %H:%M} UTC, {left_days}")
    _show_keys(files, root)
    listed = files.listed()
    for target in listed:
        print(f"published  {target.path}  {target.kind.value} {target.model} {target.version}  {target.size} bytes")
    for target in drafted or ():
        if target not in listed:
            print(f"drafted    {target.path}  {target.kind.value} {target.model} {target.version}")
    for path in sorted({each.path for each in listed} - {each.path for each in drafted}) if drafted is not None else ():
        print(f"dropped    {path}, once it is published")


@app.command()
def verify(config: ConfigFile = Default) -> None:
    """Check all of it as a gateway would: signatures, thresholds, expiries, the bytes of every target."""
    from cloud.devices.releases.verify import verify as check  # noqa: PLC0415

    files, now = _open(config)
    wrong = check(files, now)
    for line in wrong:
        print(line)
    if wrong:
        raise typer.Exit(1)
    print("all of it holds")


# small parts


def _show_keys(files: Repository, draft: Metadata[Root] | None) -> None:
    """Whose keys sign, by the beginnings of their ids; and of a root that waits, who has signed."""
    from cloud.devices.releases.keys import SHOWN  # noqa: PLC0415

    roots = [("keys", files.root())] if files.exists else []
    for name, held in [*roots, ("waiting", draft)] if draft else roots:
        for role in ("root", "targets"):
            which = held.signed.roles[role]
            ids = ", ".join(keyid[:SHOWN] for keyid in which.keyids)
            print(f"{name:10} root {held.signed.version}: {role}: {which.threshold} of {ids} have to sign")
    if draft:
        signed = ", ".join(keyid[:SHOWN] for keyid in draft.signatures) or "nobody"
        print(f"waiting    root {draft.signed.version}: signed by {signed} so far; `release root-sign`")


def _models(file: Path) -> set[str]:
    """The models that the cloud's profiles have firmware for."""
    from cloud import catalogue  # noqa: PLC0415
    from cloud.config import load_config  # noqa: PLC0415

    catalogue.use(load_config(file).profiles_dir)
    return {profile.firmware.model for profile in catalogue.profiles().values() if profile.firmware}


def _open(file: Path) -> tuple[Repository, Any]:
    from cloud.config import load_config  # noqa: PLC0415
    from cloud.devices.releases import service  # noqa: PLC0415
    from cloud.devices.releases.rules import utc  # noqa: PLC0415
    from cloud.state import now_ms  # noqa: PLC0415

    return service.open_repository(load_config(file)), utc(now_ms())


def _do(file: Path, act: Callable[[Repository, Any], Any], action: str, target: str, detail: str = "") -> Any:  # noqa: ANN401
    """Act on the files, then bring the database's copy up to date and leave a row in the audit chain."""
    from cloud import admin  # noqa: PLC0415
    from cloud.config import load_config  # noqa: PLC0415
    from cloud.devices.releases import service  # noqa: PLC0415
    from cloud.org import audit  # noqa: PLC0415
    from cloud.state import now_ms  # noqa: PLC0415

    config: Config = load_config(file)
    files, now = _open(file)
    with admin.database(config) as db:
        done = act(files, now)
        with db.begin() as tx:
            service.sync(tx, config, files, now_ms())
            audit.record(tx, admin.OPERATOR, action, target, at=now_ms(), detail=detail)
    return done


def _told(done: Signed, following: str, verb: str) -> None:
    if done.installed:
        print(f"{done.role} {done.version} is in force with {done.have} signatures")
        print(f"next: {following}")
        return
    print(f"{done.role} {done.version}: {done.have} signatures so far, {done.missing} missing")
    print(f"next: another holder runs `patrol-cloud release {verb} --keys FOLDER`.")


def _new_passphrase() -> bytes:
    given = os.environ.get(PASSPHRASE)
    text = given if given is not None else typer.prompt("passphrase", hide_input=True, confirmation_prompt=True)
    if len(text) < 8:
        raise ConfigError(PASSPHRASE, "", "a passphrase has 8 characters or more")
    return str(text).encode()


def _ask(path: Path) -> bytes:
    given = os.environ.get(PASSPHRASE)
    return (given if given is not None else typer.prompt(f"passphrase of {path.name}", hide_input=True)).encode()
