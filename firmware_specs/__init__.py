"""The contract between gateway, cloud and simulators: profiles, readings, alarm rules and wire packs.

Imports nothing of `edge`, `cloud` or `simulators`, does no network I/O and reads no clock.
"""
