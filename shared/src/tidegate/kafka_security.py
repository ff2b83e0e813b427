"""How every client of Kafka connects: addresses, TLS and SASL, from the settings. One place for all of them.

Secrets are files that may change while we run. A client of aiokafka keeps the objects it was built with for
as long as it lives and opens new connections by them, so the objects made here look at their files again:
the TLS context before each handshake, the SCRAM password at each authentication. A broker that ends sessions
(``connections.max.reauth.ms``), or a restart of it, brings the new secret into use; connections that are
open stay open. SASL/PLAIN's password is read once: aiokafka joins it into the message by itself.
"""

import contextlib
import ssl
from pathlib import Path
from typing import Any

from tidegate.errors import ConfigurationError
from tidegate.settings import KafkaSettings


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the arguments that every aiokafka client of this installation takes.

    Raises ConfigurationError where a file of the settings cannot be read or holds no PEM.
    """
    options: dict[str, Any] = {"bootstrap_servers": settings.bootstrap}
    if settings.security_protocol == "PLAINTEXT":
        return options
    options["security_protocol"] = settings.security_protocol
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _context(settings)
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.user
        options["sasl_plain_password"] = _password(settings)
    return options


class _PasswordFile(str):
    """A password whose bytes are those that its file holds now."""

    __slots__ = ("path",)
    path: Path

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the file's bytes; the ones read at the start while the file cannot be read."""
        with contextlib.suppress(OSError):
            return _text(self.path).encode(encoding, errors)
        return super().encode(encoding, errors)


class _FreshContext(ssl.SSLContext):
    """A client's TLS context that reads its files again where one of them has changed.

    A certificate authority that was trusted once stays trusted until the process ends.
    """

    files: tuple[Path | None, Path | None, Path | None] = (None, None, None)
    seen: tuple[float, ...] = ()

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a handshake: asyncio and uvloop both come through here."""
        # In the middle of a change the pair of key and certificate may not fit: the old one goes on.
        with contextlib.suppress(OSError, ssl.SSLError):
            self.refresh()
        return super().wrap_bio(*args, **kwargs)

    def refresh(self) -> None:
        """Read the files if they are not the ones that were read last. Raises OSError, SSLError."""
        now = tuple(0.0 if file is None else file.stat().st_mtime for file in self.files)
        if now == self.seen:
            return
        authority, certificate, key = self.files
        if authority is not None:
            self.load_verify_locations(authority)
        if certificate is not None:
            self.load_cert_chain(certificate, key)
        self.seen = now


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    context = _FreshContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file is None:
        context.load_default_certs()
    context.files = (settings.ca_file, settings.cert_file, settings.key_file)
    try:
        context.refresh()
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(str(file) for file in context.files if file is not None)
        raise ConfigurationError(f"TLS for Kafka: {error.strerror or error} (files: {names})") from error
    return context


def _password(settings: KafkaSettings) -> str:
    if settings.password_file is None:
        return settings.password.get_secret_value()
    try:
        password = _PasswordFile(_text(settings.password_file))
    except OSError as error:
        raise ConfigurationError(
            f"TIDEGATE_KAFKA__PASSWORD_FILE: {settings.password_file} cannot be read: {error.strerror}"
        ) from error
    password.path = settings.password_file
    return password


def _text(path: Path) -> str:
    return path.read_text("utf-8").strip()
