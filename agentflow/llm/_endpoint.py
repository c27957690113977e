"""Where a provider is and how the network to it is used, as values."""

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import attrs

from agentflow.llm._codec import Codec
from agentflow.llm._retry import RetryPolicy

_LOGIN = re.compile(r"(?<=//)([^/?#]*)@")


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a provider's API is, and how it is spoken to.

    Attributes:
        name: Name of the provider.
        base_url: URL that the codec's paths follow.
        codec: Its wire format.
        key_header: Header that carries the key.
        key_format: What that header says; ``{key}`` stands for the key.
        headers: Further headers of every request.
    """

    name: str
    base_url: str = attrs.field(repr=False)
    codec: Codec
    key_header: str = "authorization"
    key_format: str = "Bearer {key}"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)

    @property
    def place(self) -> str:
        """The base URL as it may be shown: without a password or key that is in it."""
        return re.sub(r"(?<=//)[^/]*@|[?#].*", "", self.base_url)

    @property
    def url(self) -> str:
        """The base URL as it is asked at: HTTP clients log what they are given."""
        return _LOGIN.sub("", self.base_url, count=1).rstrip("/")

    @property
    def login(self) -> Mapping[str, str]:
        """The header that carries the name and password in the base URL, if any."""
        found = _LOGIN.search(self.base_url)
        if found is None:
            return {}
        name, _, password = found[1].partition(":")
        plain = f"{unquote(name)}:{unquote(password)}".encode()
        return {"authorization": f"Basic {base64.b64encode(plain).decode('ascii')}"}

    @property
    def is_local(self) -> bool:
        """True for a server on this machine's own loopback interface."""
        host = urlsplit(self.base_url).hostname or ""
        return host in {"localhost", "::1"} or host.startswith("127.")


@attrs.frozen(kw_only=True)
class HttpSettings:
    """How a gateway uses the network.

    Attributes:
        attempt_timeout: Seconds one try may take, its answer included.
        connect_timeout: Seconds until a connection stands.
        max_connections: Connections open at the same time; further calls wait for one.
            Fewer are used for a while when the provider says that it is too much.
        retry: When to try again.
    """

    attempt_timeout: float = 600.0
    connect_timeout: float = 5.0
    max_connections: int = 100
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
