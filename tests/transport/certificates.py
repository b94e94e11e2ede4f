"""A small authority: certificates for the loopback, for a client, and for somebody else."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "bucket.test"
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """Files of an authority and of what it vouches for.

    Attributes:
        ca: its own certificate.
        server: certificate and key for the loopback's addresses and :data:`NAME`.
        client: the same for a client.
        other: certificate and key for a name that nobody asks for.
    """

    ca: Path
    server: Path
    client: Path
    other: Path

    def trusting(self) -> ssl.SSLContext:
        """For a client."""
        return ssl.create_default_context(cafile=self.ca)

    def serving(
        self, certificate: Path | None = None, *, mutual: bool = False, most: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        """For a server; ``mutual``: its clients must show a certificate, too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.server)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if mutual:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if most is not None:
            context.maximum_version = most
        return context


def found(folder: Path) -> Authority:
    """Make one; its files go to ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("an authority of handtruck's tests")
    ca = _sign(name, name, key, key, x509.BasicConstraints(ca=True, path_length=None))
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))

    def issue(title: str, *names: x509.GeneralName) -> Path:
        own = ec.generate_private_key(ec.SECP256R1())
        signed = _sign(_name(title), name, own, key, x509.SubjectAlternativeName(names))
        path = folder / f"{title}.pem"
        path.write_bytes(
            own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + signed.public_bytes(Encoding.PEM)
        )
        return path

    local = [x509.IPAddress(ip_address(f"127.0.0.{last}")) for last in (1, 2, 3)]
    return Authority(
        folder / "ca.pem",
        issue("server", x509.DNSName(NAME), x509.IPAddress(ip_address("::1")), *local),
        issue("client", x509.DNSName("client.test")),
        issue("other", x509.DNSName("other.test")),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - _HOUR).not_valid_after(now + _HOUR)
    return builder.add_extension(extension, critical=False).sign(signer, hashes.SHA256())
