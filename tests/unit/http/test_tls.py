"""TLS as both programs speak it."""

from __future__ import annotations

import ssl

import pytest

from relay_http.tls import make_context, trusting_nobody


@pytest.mark.parametrize("purpose", [ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH])
@pytest.mark.parametrize(
    ("left_by_python", "lowest"),
    [
        (ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_2),  # as Debian builds it
        (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
        (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),  # an administrator asks for more
    ],
)
def test_no_version_below_1_2_is_spoken(
    monkeypatch: pytest.MonkeyPatch,
    purpose: ssl.Purpose,
    left_by_python: ssl.TLSVersion,
    lowest: ssl.TLSVersion,
) -> None:
    """Whatever this Python leaves open; what the system's settings forbid stays forbidden."""
    made = ssl.create_default_context(purpose)
    made.minimum_version = left_by_python
    monkeypatch.setattr(ssl, "create_default_context", lambda _: made)

    assert make_context(purpose).minimum_version == lowest


def test_what_a_library_loads_when_it_is_imported_stays_out_and_what_comes_later_does_not() -> None:
    def trusted() -> int:
        return make_context().cert_store_stats()["x509_ca"]

    before = trusted()
    with trusting_nobody():
        assert trusted() == 0
    assert trusted() == before
