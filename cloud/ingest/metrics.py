"""What ingest counts, for `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class IngestMetrics:
    """Counters of one ingest process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.packs = Counter("patrol_ingest_packs", "Packs committed, repeats included.", ["lane"], registry=registry)
        self.readings = Counter(
            "patrol_ingest_items", "New readings and events committed.", ["lane"], registry=registry
        )
        self.late = Counter("patrol_ingest_late", "Items labelled late on arrival.", registry=registry)
        self.repeats = Counter(
            "patrol_ingest_repeats", "Packs whose every item was committed before.", registry=registry
        )
        self.refused = Counter(
            "patrol_ingest_refused", "Messages neither taken in nor acknowledged.", ["reason"], registry=registry
        )
        self.dead_letters = Counter(
            "patrol_ingest_dead_letters", "Packs set aside with their reason.", registry=registry
        )
        self.off_shift = Counter(
            "patrol_ingest_off_shift", "Positions of members outside their shifts, refused.", registry=registry
        )
        self.retries = Counter(
            "patrol_ingest_retries", "Batches tried again because a store refused.", registry=registry
        )
        self.reconnects = Counter("patrol_ingest_reconnects", "Broker connections made.", registry=registry)
        self.waiting = Gauge(
            "patrol_ingest_waiting_messages", "Messages received and not yet committed.", registry=registry
        )
        self.commit_seconds = Histogram(
            "patrol_ingest_commit_seconds", "From taking a batch to its commit in both stores.", registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
        )  # fmt: skip
        self.lag_seconds = Histogram(
            "patrol_ingest_lag_seconds", "From the gateway's receipt of a pack's last item to its commit.",
            registry=registry, buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 900, 3600, 86400),
        )  # fmt: skip
