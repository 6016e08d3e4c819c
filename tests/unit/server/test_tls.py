"""TLS at the server itself."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from relay_server import tls
from relay_server.errors import InvalidValue
from tests.support.certificates import Certificate, make_certificate
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


def load(made: Certificate) -> tls.Certificate:
    folder = made.cert.parent
    loaded = tls.load(make_settings(folder, tls_cert_file=made.cert, tls_key_file=made.key))
    assert loaded is not None
    return loaded


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("missing", "cert.pem: No such file or directory"),
        ("empty", "cert.pem: it is no file in PEM"),
        ("DER", "cert.pem: it is not UTF-8"),
        ("UTF-16", "cert.pem: it is UTF-16, as PowerShell"),
        ("another's key", "the key is not that of the certificate"),
        ("cut", "they are no certificate and key in PEM"),
        ("sealed", "the key is sealed with a password"),
    ],
)
def test_a_certificate_that_cannot_be_used(tmp_path: Path, broken: str, said: str) -> None:
    made = make_certificate(tmp_path)
    pem = made.cert.read_bytes()
    match broken:
        case "missing":
            made.cert.unlink()
        case "empty":
            made.cert.write_bytes(b"")
        case "DER":
            made.cert.write_bytes(ssl.PEM_cert_to_DER_cert(pem.decode()))
        case "UTF-16":
            made.cert.write_text(pem.decode(), "utf-16")
        case "cut":
            made.cert.write_bytes(pem[:-40])
        case "sealed":
            key = serialization.load_pem_private_key(made.key.read_bytes(), None)
            form, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            sealed = serialization.BestAvailableEncryption(b"x")
            made.key.write_bytes(key.private_bytes(form, kind, sealed))
        case _:
            (tmp_path / "other").mkdir()
            made.key.write_bytes(make_certificate(tmp_path / "other").key.read_bytes())
    with pytest.raises(InvalidValue, match="RELAY_SERVER_TLS_CERT_FILE and ") as e:
        load(made)
    assert said in str(e.value)


def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    assert load(make_certificate(tmp_path)).context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_renewed_certificate_is_served_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is between two that are whole, what was served goes on being served."""
    monkeypatch.setattr(tls, "LOOK_S", 0.01)
    made, told = make_certificate(tmp_path, serial=11), list[bool]()
    served = load(made)
    renewing = asyncio.create_task(served.renew(told.append))
    assert await serial_served(served.context) == 11

    old_key = made.key.read_bytes()
    make_certificate(tmp_path, serial=12)
    new_key = made.key.read_bytes()
    for unusable in (old_key, b"half a key", b""):
        told.clear()
        made.key.write_bytes(unusable)
        await until(lambda: True in told)
        assert await serial_served(served.context) == 11

    with capture_logs() as logs:
        told.clear()
        made.key.write_bytes(new_key)  # the certificate's own file stays as it is
        await until(lambda: False in told)
    assert await serial_served(served.context) == 12
    assert "certificate renewed" in [entry["event"] for entry in logs]
    assert not renewing.done()
    renewing.cancel()
