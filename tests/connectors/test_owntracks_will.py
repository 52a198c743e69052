"""A will is the broker's word, not the armband's: it is known from every other frame (D2)."""

from __future__ import annotations

from edge.codecs import BY_THE_BROKER, frame_decoder
from firmware_specs.load import BUILTIN, load_profile


def test_D2_a_will_is_no_sign_of_life() -> None:
    decode = frame_decoder(load_profile(BUILTIN / "owntracks-armband.toml"))
    assert decode(b'{"_type":"lwt","tst":1732385502}', 0) is BY_THE_BROKER
    assert decode(b'{"_type":"card"}', 0) is not BY_THE_BROKER
