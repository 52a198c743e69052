"""What an enrolled gateway is told to begin with: broker, update repository, first configuration.

Owns the document. Everything in it is read when it is asked for, so asking again is how a gateway starts over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloud.devices.configs import service as configs
from cloud.devices.releases import service as releases

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from cloud.config import Config
    from cloud.devices.enrolment.authority import Authority
    from cloud.devices.enrolment.certificates import Holder


def document(tx: Connection, config: Config, authority: Authority, who: Holder, now_ms: int) -> dict[str, Any]:
    """The document for a gateway."""
    repository = releases.bootstrap(tx)
    first = configs.current(tx, who.gateway) or configs.bootstrap(tx, who.gateway, who.node, now_ms)
    return {
        "gateway": who.gateway,
        "node": who.node,
        "broker_url": config.enrolment.broker_url or config.broker.url,
        "broker_ca": authority.chain_pem(),
        "update_root": repository.root,
        "metadata_url": repository.metadata_url,
        "targets_url": repository.targets_url,
        "config": first.text if first else "",
        "config_version": first.version if first else 0,
        "time_ms": now_ms,
    }
