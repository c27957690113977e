"""The certificates that servers are checked against: read once, used by all gateways.

Reading them takes longer than a call to a local model does. They come from where the HTTP
client looks for them: SSL_CERT_FILE or SSL_CERT_DIR, else what it ships.
"""

import functools
import os
import ssl
from collections.abc import Callable

_SOURCES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def shared_context(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return what to check a server's certificate with.

    Args:
        make: Reads the certificates, from where the environment says.

    Returns:
        What it made, under the environment as it is now.
    """
    return _context_for(make, tuple(os.environ.get(name) for name in _SOURCES))


@functools.lru_cache(maxsize=4)
def _context_for(
    make: Callable[[], ssl.SSLContext], _sources: tuple[str | None, ...]
) -> ssl.SSLContext:
    """Read the certificates; the cache keeps those of each place they came from."""
    return make()
