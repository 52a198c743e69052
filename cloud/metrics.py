"""What `/metrics` shows. Every folder declares its figures on this registry."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry()
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS: Final = Counter(
    "patrol_http_requests_total", "HTTP requests by route and status", ["method", "route", "status"], registry=REGISTRY
)
REQUEST_SECONDS: Final = Histogram(
    "patrol_http_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=REGISTRY
)
TIMER_LATENESS: Final = Histogram(
    "patrol_timer_lateness_seconds",
    "How much later than due a deadline fired",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
    registry=REGISTRY,
)
TIMER_FAILURES: Final = Counter(
    "patrol_timer_failures_total", "Deadlines whose action failed and is tried again", ["kind"], registry=REGISTRY
)
PRESENCE_SECONDS: Final = Histogram(
    "patrol_presence_seconds",
    "From the arrival of a fix or check-in to the decision on it",
    buckets=_SECONDS,
    registry=REGISTRY,
)
PRESENCE_FAILURES: Final = Counter(
    "patrol_presence_failures_total", "Batches of evidence that could not be judged as they were", registry=REGISTRY
)
STREAM_CLIENTS: Final = Gauge("patrol_stream_clients", "Open event streams", registry=REGISTRY)
STREAM_CUT: Final = Counter("patrol_stream_clients_cut_total", "Streams cut for being slow", registry=REGISTRY)
SIGN_INS: Final = Counter("patrol_sign_ins_total", "Sign-ins by result", ["result"], registry=REGISTRY)
ENROLMENTS: Final = Counter("patrol_enrolments_total", "Claims presented, by result", ["result"], registry=REGISTRY)
GATEWAYS: Final = Gauge("patrol_gateways", "Gateways by line", ["state"], registry=REGISTRY)
GATEWAY_HEALTH: Final = Gauge("patrol_gateway_health", "Gateways by health", ["state"], registry=REGISTRY)
DEVICES: Final = Gauge("patrol_devices", "Devices by state", ["state"], registry=REGISTRY)
ALARMS: Final = Gauge("patrol_alarms", "Alarms that are not cleared, by state", ["state"], registry=REGISTRY)
TELEMETRY: Final = Gauge("patrol_telemetry_store", "What the series store says", ["figure"], registry=REGISTRY)

NOTIFY_SENT: Final = Counter("patrol_notify_sent_total", "Notifications sent", ["kind"], registry=REGISTRY)
NOTIFY_FAILED: Final = Counter("patrol_notify_failed_total", "Notifications given up", ["kind"], registry=REGISTRY)
NOTIFY_DIGESTED: Final = Counter("patrol_notify_digested_total", "Notifications sent in a digest", registry=REGISTRY)
NOTIFY_UNHEARD: Final = Counter(
    "patrol_notify_unheard_total", "Messages that no channel was there for", ["urgent"], registry=REGISTRY
)
NOTIFY_WAITING: Final = Gauge("patrol_notify_waiting", "Notifications that wait", registry=REGISTRY)
NOTIFY_OLDEST: Final = Gauge("patrol_notify_oldest_seconds", "Age of the oldest that waits", registry=REGISTRY)

CAMPAIGN_OUTCOMES: Final = Counter(
    "patrol_campaign_outcomes_total", "What came of members of campaigns", ["kind", "outcome"], registry=REGISTRY
)
CAMPAIGN_STEPS: Final = Counter(
    "patrol_campaign_steps_total", "What campaigns did by themselves", ["kind", "step"], registry=REGISTRY
)


def render() -> bytes:
    """Everything in Prometheus text format."""
    return generate_latest(REGISTRY)
