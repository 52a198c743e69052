"""The words that a diagnostics bundle may hold: what agents, brokers, disks and the kernel say of themselves.

A table. A word gets in here only when it can be nobody's name and no secret; what is missing shows as a mark, which
costs a little clearness and nothing else.
"""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
a abort aborted accept accepted access ack acknowledged acknowledgement active added address addresses after again
agent alarm alarms all already an and anew another answer answers any anybody are as aside asked at attempt
authentication authority available awaiting away
back backoff bad badly baud be because been before began begins begun below bind blocked boot both bound broken broker
brokers brought budget buffer bus busy but by bytes
ca came can cannot capacity cause cert certificate certificates chain changed channel check checked checksum clean
cleared client clock close closed closing cloud coap command commands commit committed concerns config configuration
configurations configured connect connected connecting connection connections connector connectors corrupt could count
counted counter counters cpu crash critical current cut
damaged data database days dead deadline debug decode default degraded deleted denied der desired device devices did
different directory disabled disciplined disconnect disconnected disk dns document does done down dropped due
duplicate
eacces each econnrefused econnreset edge ehostunreach eio empty enabled end ended endpoint ends enetunreach enoent
enospc eof epoch epoll erofs errno error errors etimedout event events every exceeded exception exists expected
expired expires expiry
fail failed failing fails failure fault fell file files filesystem firmware first folder for force format found frame
frames free from full
gap gaps gateway given goes gone good got gpio
had half handled handling handshake has have heard hears held help here hit hold holds host hostname hours how
i2c idle if ignored images in incomplete info initial input inside instead insufficient internal
interrupted into invalid io ioerror ip ipv4 ipv6 is issuer it its itself
job jobs journal json
keep keepalive keeps kept key kill killed kind known knows
lack lane lanes last late later least left length less level limit line link linkerror listening live load local
locked log longer lost low
made makes many marked mb means memory message messages metric metrics mid minutes missing mode more mqtt mqtts mqttv5
ms must
name network never new newer next no nobody node nodes none nor not note nothing now ntp null
occurred of off offline offset ok old older on once one online only opc opcua open opened operation or order orders
oserror other out outbox over own
pack packet packs parity parse part parts password path pem pending permission permitted pid places plan platform port
position power precondition preconditions prefix problem process profile profiles protocol published
qos quality queue quick quiet
rate rc reached reaching read readable reading readings ready reason rebooted received record recovered refused
refuses rejected released reload remote removed renewed repeat repeated repeats replaced reply request reset
resolution resolve resource restart restarted restarting result retry run running runs
same say says schema seconds secure security self senml sent sequence serial served server serves service serving
session set sha256 short should signal signature signed since size slow socket something space spi sqlite ssl stale
start started state states status stay stays still stop stopped storage store stored storeerror subscribe subscription
succeeded synced system
table taken takes tcp technician telemetry tells temperature temporary than that the them then there therefore thinned
this through thrown till time timed timeout timer times tls to told toml too took topic track transport trial tried
trust trusted try tty twice
ua udp unable unavailable under unexpected unknown unreachable unspecified unsupported unsynced until untrusted
up update uplink url us usb used user utc utf
valid value values verification verified verify version versions
waited waiting waits wants warn warning was watchdog way we went were what when where which while who with within
without word writable write write-protected writer written wrong
x509
yet
zero zip zstd
"""
WORDS: Final = frozenset(_TABLE.split())
