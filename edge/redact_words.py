"""The words that a diagnostics bundle may hold: what agents, brokers, disks and the kernel say of themselves.

A table. A word gets in here only when it can be nobody's name and no secret; what is missing shows as a mark, which
costs a little clearness and nothing else.
"""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
a abort aborted accept accepted access ack acknowledged acknowledgement active added address addresses after again
agent alarm alarms all already an and another answer answers any are as asked aside at attempt authentication
authority available away awaiting
back backoff bad baud be because been before began begun below bind blocked boot both bound broken broker brokers
budget buffer bus busy but by bytes
ca cannot capacity cause cert certificate certificates changed channel chain check checked checksum cleared client
clock close closed closing coap command commands commit committed configuration configured config connect connected
connecting connection connections connector connectors corrupt could count counted counter counters cpu
crash current cut
damaged data database days dead deadline decode default degraded deleted denied desired device devices did
different directory disabled disciplined disconnect disconnected disk document does done down dropped due
duplicate
each edge empty enabled end ended ends endpoint eof epoch error errors event events every exceeded exists expected
expired expires expiry
failed failing failure fault fell file files filesystem first folder for force format found frame frames free from
full
gap gaps gateway given good got gone
had handshake has have heard held here hold holds host hostname hours how
id identifier idle if ignored in incomplete info initial input inside instead insufficient internal interrupted
invalid io is issuer it its itself
journal json
keep keepalive kept key kill killed kind knows known
lane last late later least left length less level limit line link live load local locked log longer lost low
made many marked mb memory message messages metric metrics minutes missing mode more mqtt mqtts ms must
name network nothing note never new newer next no node nodes none not nothing now null number
of off offline offset ok old older on once one online only opcua open opened or order orders other out outbox over
own
pack packs packet parity parse part parts password path pending permission permitted places plan platform port
position power precondition preconditions prefix problem process profile profiles protocol published
quality queue quick quiet
rate read readable reading readings ready reason rebooted received recovered refused rejected reload released
removed repeat repeated repeats replaced reply request reset resolution resolve resource restart restarted result
retry run running runs
same schema seconds secure security self sent sequence serial server service session set short should signal
signature signed since size slow socket something space stale start started state states status stay stays still
stop stopped storage store stored subscribe subscription succeeded synced system
table takes telemetry temperature temporary than that the them then there thinned this through thrown time timed
timeout times timer tls to told too took topic trial tried trust trusted try twice
unavailable unexpected unit unknown unreachable unspecified unsupported unsynced until untrusted up update uplink
url used user utc
valid value values verification verify verified version versions
waited waiting waits warn warning was watchdog way went were what when where which while who with within without
word write writable write-protected writer written wrong
yet zero
accept anybody begins came can clean concerns done down fails goes half handled handling hears help hit keeps lack
makes means nobody nor occurred operation path reached reaching refuses remote say says served serves service
serving socket technician tells therefore till tls took track transport unable under us we
eacces econnrefused econnreset ehostunreach eio enetunreach enoent enospc erofs etimedout errno oserror sqlite tcp
udp ip ipv4 ipv6 dns ssl x509 pem der pid rc mid qos epoll ntp usb tty i2c spi gpio senml toml utf zstd zip
fail warn debug critical exception linkerror ioerror storeerror lanes mqttv5 senml opc ua tcp sha256
"""
WORDS: Final = frozenset(_TABLE.split())
