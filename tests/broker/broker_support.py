"""A cloud's authority, database and broker on loopback, and gateways with certificates of that authority."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.config import Config
from cloud.db import SQLITE_FILE, open_database
from cloud.devices.broker import conf
from cloud.devices.broker.keeping import Keeper
from cloud.devices.enrolment import authority as issuing
from cloud.devices.enrolment import certificates, listener, making
from cloud.devices.enrolment import service as enrolment
from cloud.devices.enrolment.est import Est
from cloud.devices.enrolment.listener import Server
from cloud.org.rules import SYSTEM
from cloud.state import now_ms
from tests.cloud.cloud_support import know
from tests.support import accepts, free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Running, StartProcess

DAYS = 90


class Site:
    """See the module. `start` the broker; `keep` is one pass of the keeper."""

    def __init__(self, folder: Path, template: Path, start_process: StartProcess, program: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        shutil.copy(template, self.data / SQLITE_FILE)
        self.port, self.cloud_port = free_port(), free_port()
        self.pid_file = folder / "mosquitto.pid"
        self.config = self.configure()
        authority = self.data / issuing.FOLDER
        making.make_root(folder / "root", "tests", issuing.now())
        making.make_intermediate(folder / "root", authority, (), issuing.now())
        self.authority = issuing.of(self.config)
        self.db = open_database("sqlite", self.data)
        self.keeper = Keeper(self.config)
        self.clients: list[Client] = []
        self._start_process = start_process
        self._program = program
        self.broker: Running | None = None
        self._est: Server | None = None
        self.url = ""

    def listen(self) -> None:
        """Let gateways enrol at `url`."""
        context = listener.tls(self.authority)
        assert self.config.est
        listener.certify(context, self.authority, self.data / issuing.FOLDER, self.config.est)
        sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        with self.db.begin() as tx:
            enrolment.announce(tx, self.url)
        self._est = Server(Est(self.db, self.authority, self.config), sock, context)
        self._est.start()

    def claim(self, gateway: str | None = None, at: int | None = None) -> enrolment.IssuedClaim:
        """A new claim."""
        with self.db.begin() as tx:
            given = enrolment.NewClaim(node="/", gateway=gateway)
            return enrolment.issue_claim(tx, SYSTEM, given, now_ms() if at is None else at)

    def configure(self, *, reload: str = "", **more: Any) -> Config:  # noqa: ANN401 - tables of cloud.toml
        """The cloud's configuration; more tables, and how the broker is told."""
        table = {
            "dir": self.folder / "broker", "reload": reload or f"signal:{self.pid_file}", "user": "root",
            "bind": f"127.0.0.1:{self.port}", "cloud_bind": f"127.0.0.1:{self.cloud_port}",
        }  # fmt: skip
        return Config.model_validate(
            {
                "data_dir": self.data, "est": {"bind": "127.0.0.1:0"}, "http": {"bind": "127.0.0.1:0"},
                "enrolment": {"broker_url": f"mqtts://localhost:{self.port}"}, "broker": {"url": f"mqtt://127.0.0.1:{self.cloud_port}"},
                **more, "mosquitto": {**table, **more.get("mosquitto", {})},
            }
        )  # fmt: skip

    def use(self, config: Config) -> None:
        """Keep the folder by another configuration from now on."""
        self.config, self.keeper = config, Keeper(config)

    @property
    def kept(self) -> Path:
        return self.folder / "broker"

    def keep(self, now: int | None = None) -> None:
        self.keeper.keep(self.db, now_ms() if now is None else now)

    def start(self) -> None:
        """Write the folder and start the broker by it."""
        self.keep()  # its broker does not run yet, so it is told of nothing
        self.start_broker()
        self.keep()
        # The signal can cut a connection that is just being made; whoever was greeted comes after it.
        wait_for(self._greets, 10, "the broker's greeting after the signal")

    def start_broker(self) -> None:
        """Start it by the folder as it is."""
        self.pid_file.unlink(missing_ok=True)
        self.broker = self._start_process(self._program, "-c", self.kept / conf.CONF, name="mosquitto")
        wait_for(self.pid_file.exists, 10, "the broker's pid file")
        wait_for(self._accepts, 10, "the broker")
        # Its ports are open before it minds signals: one that comes between the two would end it.
        wait_for(self._greets, 10, "the broker's greeting")

    def _greets(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.kept / conf.CA))
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), 10) as plain,
                context.wrap_socket(plain, server_hostname="localhost"),
            ):
                return True
        except OSError:
            return False

    def _accepts(self) -> bool:
        assert self.broker
        assert self.broker.alive, self.broker.text()
        return accepts(self.cloud_port) and accepts(self.port)

    def enrol(self, *names: str) -> None:
        """Make gateways known and give each a certificate, in `<folder>/<name>.pem` with its key."""
        know(self.db, *names)
        for name in names:
            self.certify(name)

    def certify(self, name: str) -> Path:
        """A certificate for a gateway that is known, written down as enrolment does."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        with self.db.begin() as tx:
            made = certificates.write(tx, self.authority, csr, name, claim=None, days=DAYS, now_ms=now_ms())
        plain = serialization.NoEncryption()
        secret = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        file = self.folder / f"{name}.pem"
        file.write_bytes(made.public_bytes(Encoding.PEM) + secret)
        return file

    def revoke(self, name: str) -> None:
        with self.db.begin() as tx:
            assert enrolment.revoke_gateway(tx, SYSTEM, name, now_ms()).certificates >= 1

    def session(
        self, gateway: str, *, client_id: str = "", port: int = 0, pem: Path | None = None, password: str = ""
    ) -> Session:  # fmt: skip
        """A connected client: a gateway by its certificate, or the cloud.

        Raises AssertionError or OSError when the broker does not let it in.
        """
        client = Client(
            CallbackAPIVersion.VERSION2, client_id or gateway or f"cloud-{time.monotonic_ns()}",
            protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False,
        )  # fmt: skip
        if gateway:
            file = str(pem or self.folder / f"{gateway}.pem")
            client.tls_set(str(self.kept / conf.CA), file, file, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if password:
            client.username_pw_set("cloud", password)
        self.clients.append(client)
        return Session(client, "localhost" if gateway else "127.0.0.1", port or self.port)

    def close(self) -> None:
        if self._est:
            self._est.stop()
        for client in self.clients:
            client.disconnect()
            client.loop_stop()
        self.db.close()


class Session:
    """A connection that was accepted, and what becomes of it."""

    def __init__(self, client: Client, host: str, port: int) -> None:
        self.client = client
        self.up, self.lost, self.granted = threading.Event(), threading.Event(), threading.Event()
        self.heard: list[tuple[str, bytes]] = []
        self.why = ""
        client.on_connect = self._connected
        client.on_disconnect = self._lost
        client.on_message = lambda _c, _d, message: self.heard.append((message.topic, bytes(message.payload)))
        client.on_subscribe = lambda *_: self.granted.set()
        client.connect(host, port)
        client.loop_start()
        wait_for(lambda: self.up.is_set() or self.lost.is_set(), 10, "the broker's answer")
        assert self.up.is_set(), self.why

    def _connected(self, *said: Any) -> None:  # noqa: ANN401 - paho's
        self.why = str(said[3])
        (self.lost if said[3].is_failure else self.up).set()

    def _lost(self, *said: Any) -> None:  # noqa: ANN401 - paho's
        self.why = self.why if self.why not in {"", "Success"} else str(said[3])
        self.lost.set()

    def subscribe(self, *topics: str) -> None:
        self.granted.clear()
        self.client.subscribe([(topic, 1) for topic in topics])
        assert self.granted.wait(10)


def is_refused(site: Site, gateway: str, **how: Any) -> bool:  # noqa: ANN401 - see `Site.session`
    """Whether the broker does not let a gateway in. TLS 1.3 tells a client of a refusal after its own handshake."""
    try:
        site.session(gateway, **how)
    except (OSError, AssertionError):
        return True
    return False


LONG_AGO = timedelta(days=800)
