"""Who may see a trace: whoever comes by a known host name and with the token.

A trace holds whatever agents said, so it is nobody else's. The token keeps out other users
of the machine and other pages in the browser; the host name keeps out pages that have
their own name resolve to this machine (DNS rebinding); and a request that another origin
makes, be it another port of the same host, whose requests carry our cookie, is refused.

The token comes once in the link, and is then kept in a cookie that scripts cannot read, so
that it stands in neither the address bar nor the history. Programs send it as
``Authorization: Bearer``.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence

import attrs

from agentflow._errors import UsageError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""The names by which a program on the same machine is reached."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,}")
_PORT = re.compile(r":\d*$")
_OWN_SITES = frozenset({"", "same-origin", "none"})


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


@attrs.frozen(kw_only=True)
class Gate:
    """Decides about requests.

    Attributes:
        token: What a visitor must know.
        hosts: The host names that requests may name, without a port, in lower case.
    """

    token: str
    hosts: frozenset[str]

    @classmethod
    def of(cls, token: str, hosts: Sequence[str]) -> "Gate":
        """Make a gate for this token, and for these hosts and the loopback names.

        Raises:
            UsageError: The token is short, or would not fit a link and a cookie.

        Returns:
            The gate.
        """
        if not _TOKEN.fullmatch(token):
            raise UsageError(
                "the viewer's token must be 16 or more letters, digits, - and _; leave "
                "it out, or take secrets.token_urlsafe()"
            )
        return cls(token=token, hosts=frozenset(map(_host, (*LOOPBACK, *hosts))))

    @property
    def cookie(self) -> str:
        """The cookie's name: one's own, since all ports of a host share their cookies."""
        return f"agentflow_{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    def refusal(
        self, headers: Mapping[str, str], cookies: Mapping[str, str], link_token: str
    ) -> str:
        """Say why a request is refused; empty if it is not.

        Args:
            headers: Its headers, found in any case.
            cookies: Its cookies.
            link_token: The token in its address, or empty.

        Returns:
            The reason, with what to do about it.
        """
        host = headers.get("host", "")
        if _host(host) not in self.hosts:
            return f"host {host!r} is not served; name it in hosts=[...] if it is yours"
        if self.is_token(link_token):
            return ""  # the link may stand in a page of any site
        if headers.get("sec-fetch-site", "").lower() not in _OWN_SITES:
            return "the page of another origin asked; only this one's own may"
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        presented = bearer if scheme.lower() == "bearer" else cookies.get(self.cookie)
        if not self.is_token(presented or ""):
            return (
                "the token is missing or wrong; open the whole link, ?token= included"
            )
        return ""

    def is_token(self, presented: str) -> bool:
        """Compare in a time that tells nothing about the token."""
        return secrets.compare_digest(presented.encode(), self.token.encode())


def _host(name: str) -> str:
    return _PORT.sub("", name.lower())
