"""The agent's counters for Prometheus, on a loopback port, when configured.

Owns the names. Loaded only then; prometheus-client serves from a thread of its own and reads the status, which is a
snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from edge.config import split_bind
from firmware_specs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from edge.config import MetricsConfig
    from firmware_specs.wire import Status


class _Collector:
    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Everything that the status says."""
        status = self._status()
        for name, value in status.counters.items():
            if name.endswith("_ms"):
                yield GaugeMetricFamily(f"patrolgrid_edge_{name}", name, value)
            else:
                yield CounterMetricFamily(f"patrolgrid_edge_{name}", name, value)
        waiting = GaugeMetricFamily("patrolgrid_edge_outbox_waiting", "Items that wait", labels=["lane"])
        for lane, lane_status in status.lanes.items():
            waiting.add_metric([lane], lane_status.waiting)
        yield waiting
        links = GaugeMetricFamily("patrolgrid_edge_link_up", "Whether a link is up", labels=["connector"])
        for connector, state in status.connectors.items():
            links.add_metric([connector], float(state == "up"))
        yield links
        yield GaugeMetricFamily("patrolgrid_edge_degraded", "Whether a fault lasts", float(bool(status.degraded)))


def serve_metrics(config: MetricsConfig, status: Callable[[], Status]) -> Callable[[], None]:
    """Serve until the returned function is called. Raises ConfigError when the port is taken."""
    host, port = split_bind(config.bind, 9464)
    registry = CollectorRegistry()
    registry.register(_Collector(status))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as e:
        raise ConfigError("metrics", "bind", f"{config.bind}: {(e.strerror or str(e)).lower()}") from e

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
