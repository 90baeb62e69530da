"""TLS contexts for both sides, and a throwaway certificate for who has none.

Safe by default: what `ssl.create_default_context` gives, TLS 1.2 or later (RFC 8996).
"""

import functools
import hashlib
import ssl
from typing import NoReturn

from .errors import OptionError

__all__ = ["client_context", "reason_of", "server_context", "use_throwaway"]

_CHAIN = "expected a certificate chain in PEM format, its key there too or in keyfile"
_CA = "expected CA certificates in PEM format"

THROWAWAY_NAMES = ("localhost", "127.0.0.1", "::1")


def server_context(
    certfile: str | None, keyfile: str | None, client_ca: str | None
) -> ssl.SSLContext:
    """A context for servers; without *certfile* it has no certificate yet.

    :param client_ca: CA certificates; every client has to show a certificate of one of them.
    :raises OptionError: a file cannot be read, or is not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A peer that ends its side without close_notify, by shutdown(2) alone, still gets all
    # its replies; and so does one whose input we end ourselves, by SHUT_RD.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.options |= ssl.OP_NO_RENEGOTIATION  # it costs us many times what it costs a client
    _load_own(context, certfile, keyfile)
    if client_ca is not None:
        _check_readable("client_ca", client_ca, _CA)
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise OptionError(f"client_ca={client_ca!r}: {reason_of(error)}; {_CA}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    cafile: str | None, insecure: bool, certfile: str | None, keyfile: str | None
) -> ssl.SSLContext:
    """A context for clients, which verifies the server's certificate and name.

    :param cafile: CA certificates to trust instead of the system's.
    :param insecure: verify nothing.
    :raises OptionError: a file cannot be read, or is not what it should be; or the server
        is to be verified and not.
    """
    if insecure and cafile is not None:
        raise OptionError("cafile is to verify the server, insecure is not to: choose one")
    if cafile is not None:
        _check_readable("cafile", cafile, _CA)
    try:
        context = ssl.create_default_context(cafile=cafile)
    except OSError as error:
        raise OptionError(f"cafile={cafile!r}: {reason_of(error)}; {_CA}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_own(context, certfile, keyfile)
    return context


@functools.cache
def unverifying_context() -> ssl.SSLContext:
    """A context that verifies nothing, for clients that come by thousands.

    It has none of the system's CA certificates: OpenSSL would look through them all the same,
    which is a third of a client's work.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def use_throwaway(context: ssl.SSLContext) -> str:
    """Give *context* a fresh certificate for localhost, that lives as long as it does.

    :returns: the SHA-256 fingerprint of the certificate, ``AB:CD:...``.
    :raises OptionError: the package that makes certificates is not installed.
    """
    from tempfile import NamedTemporaryFile  # imported late: those with a certificate need none

    try:
        import trustme
    except ImportError as error:
        raise OptionError(
            "tls needs a certificate: give certfile and keyfile,"
            " or `pip install echoservers[tls]` for a throwaway one"
        ) from error
    made = trustme.CA().issue_cert(*THROWAWAY_NAMES)
    # OpenSSL reads keys from files only.  This one is our user's alone, and gone at once.
    with NamedTemporaryFile(prefix="echoservers-") as file:
        file.write(made.private_key_and_cert_chain_pem.bytes())
        file.flush()
        context.load_cert_chain(file.name)
    pem = made.cert_chain_pems[0].bytes().decode("ascii")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    return digest.hex(":").upper()


def reason_of(error: OSError) -> str:
    """What *error* says, in words: OpenSSL's ``WRONG_VERSION_NUMBER`` as it is said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not verified: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "the connection ended"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)


def _load_own(context: ssl.SSLContext, certfile: str | None, keyfile: str | None) -> None:
    if certfile is None:
        if keyfile is not None:
            raise OptionError("keyfile is the key of a certificate: give certfile, too")
        return
    _check_readable("certfile", certfile, _CHAIN)
    if keyfile is not None:
        _check_readable("keyfile", keyfile, "expected the key of certfile in PEM format")
    try:
        context.load_cert_chain(certfile, keyfile, _no_password)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        given = f"certfile={certfile!r}" + (f", keyfile={keyfile!r}" if keyfile else "")
        raise OptionError(f"{given}: {reason}; {_CHAIN}") from error


def _no_password() -> NoReturn:
    # Else OpenSSL asks at the terminal, which a server may not have.
    raise ValueError("the key has a password; expected one without")


def _check_readable(option: str, path: str, expected: str) -> None:
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise OptionError(f"{option}={path!r}: {error.strerror}; {expected}") from error
