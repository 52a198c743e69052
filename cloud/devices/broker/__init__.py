"""Broker identity: mosquitto's configuration and revocation list, and the answers of its HTTP way."""
