"""Whatever bytes come to the EST listener's parsers: an answer of the list, one line, never an error. S8."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud import schema
from cloud.config import Config
from cloud.db import open_database
from cloud.devices.enrolment.csr import CsrRefused, read
from cloud.devices.enrolment.est import BOOTSTRAP, EST, Est, Request, claim_of
from cloud.errors import NotSignedIn
from tests.cloud.cloud_support import NOW
from tests.enrolment.enrolment_support import body_of, certs_of, make_authority, request

if TYPE_CHECKING:
    from collections.abc import Iterator

PATHS = [f"{EST}/cacerts", f"{EST}/simpleenroll", f"{EST}/simplereenroll", BOOTSTRAP]
GOOD = base64.b64decode(body_of(request()[0]))


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Est]:
    folder = tmp_path_factory.mktemp("est")
    db = open_database("sqlite", folder)
    schema.migrate(db)
    yield Est(db, make_authority(folder), Config.model_validate({"data_dir": folder}))
    db.close()


@given(st.binary(max_size=300) | st.binary(max_size=300).map(base64.b64encode))
def test_any_bytes_are_refused_in_one_line_S8(body: bytes) -> None:
    with pytest.raises(CsrRefused) as caught:
        read(body)
    assert "\n" not in str(caught.value)


@example(GOOD.index(b"\x02\x01\x00") + 2, 3)  # a version that does not exist is an error of its own in the library
@given(st.integers(0, 150), st.integers(1, 255))
def test_a_request_with_a_byte_changed_is_refused_or_still_signed_S8(at: int, change: int) -> None:
    der = bytearray(GOOD)
    der[at] ^= change
    with suppress(CsrRefused):
        assert read(base64.b64encode(der)).is_signature_valid


@given(st.text(max_size=100) | st.binary(max_size=80).map(lambda raw: f"Basic {base64.b64encode(raw).decode()}"))
def test_any_authorization_is_a_code_or_refused_S8(text: str) -> None:
    with suppress(NotSignedIn):
        assert claim_of(text)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Request,
        st.sampled_from(["GET", "POST", "PUT"]),
        st.sampled_from(PATHS) | st.text(max_size=30),
        st.just("10.0.0.1"),
        st.text(max_size=40) | st.binary(max_size=30).map(lambda raw: f"Basic {base64.b64encode(b':' + raw).decode()}"),
        st.binary(max_size=60) | st.just(base64.b64encode(GOOD)),
        st.binary(max_size=60),
    )
)
def test_any_request_gets_an_answer_of_the_list_S8(est: Est, asked: Request) -> None:
    answer = est.answer(asked, NOW)
    assert answer.status in {200, 400, 401, 403, 404, 405, 429}
    if answer.status == 200:
        assert len(certs_of(answer.body)) == 2
    else:
        assert answer.body.count(b"\n") == 1
