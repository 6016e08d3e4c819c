"""TLS at the server itself."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay_server import tls
from relay_server.errors import InvalidValue
from tests.support.certificates import make_certificate
from tests.support.waiting import until
from tests.unit.server.support import make_settings


async def serial_served(context: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection gets."""
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    server.close()
    from cryptography import x509

    return int(x509.load_der_x509_certificate(shown).serial_number)


def test_without_a_certificate_there_is_no_tls(tmp_path: Path) -> None:
    assert tls.load(make_settings(tmp_path)) is None


@pytest.mark.parametrize("broken", ["missing", "empty", "another's key"])
def test_a_certificate_that_cannot_be_used(tmp_path: Path, broken: str) -> None:
    made = make_certificate(tmp_path)
    match broken:
        case "missing":
            made.cert.unlink()
        case "empty":
            made.cert.write_bytes(b"")
        case _:
            (tmp_path / "other").mkdir()
            made.key.write_bytes(make_certificate(tmp_path / "other").key.read_bytes())
    settings = make_settings(tmp_path, tls_cert_file=made.cert, tls_key_file=made.key)
    with pytest.raises(InvalidValue, match="RELAY_SERVER_TLS_CERT_FILE and RELAY_SERVER_TLS_KEY"):
        tls.load(settings)


async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    context = tls.load(make_settings(tmp_path, tls_cert_file=made.cert, tls_key_file=made.key))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_renewed_certificate_is_served_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_S", 0.01)
    made = make_certificate(tmp_path, serial=11)
    settings = make_settings(tmp_path, tls_cert_file=made.cert, tls_key_file=made.key)
    context = tls.load(settings)
    assert context is not None
    with capture_logs() as logs:
        task = asyncio.create_task(tls.renew(settings, context))
        await asyncio.sleep(0)
        assert await serial_served(context) == 11

        good = made.cert.read_bytes()
        made.cert.write_bytes(b"half a cert")
        os.utime(made.cert, (1, 1))
        await until(lambda: any(entry["log_level"] == "error" for entry in logs))
        assert await serial_served(context) == 11, "the old one stays"

        made.cert.unlink()
        made.cert.write_bytes(good)
        make_certificate(tmp_path, serial=12)
        os.utime(made.cert, (2, 2))
        await until(lambda: any(entry["event"] == "certificate renewed" for entry in logs))
        assert await serial_served(context) == 12
        assert not task.done()
        task.cancel()


async def test_without_a_certificate_nothing_is_renewed(tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    renewing = asyncio.create_task(tls.renew(make_settings(tmp_path), context))
    done, _ = await asyncio.wait([renewing], timeout=10)
    assert done == {renewing}
