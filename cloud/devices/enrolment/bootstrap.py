"""What an enrolled gateway is told to begin with: broker, update repository, first configuration.

Owns the document. Everything in it is read when it is asked for, so asking again is how a gateway starts over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cloud.devices.configs import service as configs

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.devices.enrolment.authority import Authority
    from cloud.devices.enrolment.certificates import Holder

METADATA: Final = "updates/metadata"
TARGETS: Final = "updates/targets"


def update_root(data_dir: Path) -> str:
    """The root of the update repository that a new gateway trusts, empty while there is none."""
    folder = data_dir / METADATA
    plain = folder / "root.json"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    numbered = [(int(file.name.partition(".")[0]), file) for file in folder.glob("*.root.json") if _numbered(file)]
    return max(numbered)[1].read_text(encoding="utf-8") if numbered else ""


def _numbered(file: Path) -> bool:
    return file.name.partition(".")[0].isdigit()


def document(tx: Connection, config: Config, authority: Authority, who: Holder, now_ms: int) -> dict[str, Any]:
    """The document for a gateway."""
    site = (config.http.public_url or f"http://{config.http.bind}").rstrip("/")
    first = _config(tx, who, now_ms)
    return {
        "gateway": who.gateway,
        "node": who.node,
        "broker_url": config.enrolment.broker_url or config.broker.url,
        "broker_ca": authority.chain_pem(),
        "update_root": update_root(config.data_dir),
        "metadata_url": f"{site}/{METADATA}/",
        "targets_url": f"{site}/{TARGETS}/",
        "config": first.text if first else "",
        "config_version": first.version if first else 0,
        "time_ms": now_ms,
    }


def _config(tx: Connection, who: Holder, now_ms: int) -> Any:  # noqa: ANN401 - a ConfigDocument, once there are any
    """What the gateway is to run: its document, else one from its node's template, else nothing."""
    current = getattr(configs, "current", None)
    made = current(tx, who.gateway) if current else None
    begin = getattr(configs, "bootstrap", None)
    return made or (begin(tx, who.gateway, who.node, now_ms) if begin else None)
