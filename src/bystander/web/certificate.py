"""A certificate of our own, for machines that have none: browsers warn once, but then give the page a camera.

Made once, kept in the data folder, made anew before it ends. Needs ``cryptography``, which aiortc brings.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
from pathlib import Path
from typing import Any

from bystander.errors import SettingsError
from bystander.web.private import write_private
from bystander.web.settings import LOOPBACK, WILDCARD

DAYS = 397  # browsers take none that lasts longer
RENEW_DAYS = 30


def own_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Certificate and key for this host. SettingsError when they cannot be made."""
    certificate, key = folder / "certificate.pem", folder / "certificate.key"
    names = sorted({host, socket.gethostname(), *LOOPBACK} - WILDCARD)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (key.exists() and certificate.exists() and still_good(certificate, names)):
            make(certificate, key, names)
    except ImportError as e:
        raise SettingsError("--https: needs the package cryptography, or give --cert and --key") from e
    except OSError as e:
        raise SettingsError(f"{certificate}: cannot be written ({e.strerror})") from e
    return certificate, key


def still_good(path: Path, names: list[str]) -> bool:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    left = found.not_valid_after_utc - dt.datetime.now(dt.timezone.utc)
    return left > dt.timedelta(days=RENEW_DAYS) and {str(n.value) for n in held} >= set(names)


def make(certificate: Path, key: Path, names: list[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bystander")])
    now = dt.datetime.now(dt.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([general_name(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    kind = serialization.PrivateFormat.PKCS8
    write_private(key, private.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()))
    write_private(certificate, made.public_bytes(serialization.Encoding.PEM))


def general_name(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
