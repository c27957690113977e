"""The page: one HTML file, built from `page/` and shipped in the wheel."""

import re
from functools import cache
from importlib.resources import files

import attrs

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
_SOURCES = re.compile(r'<meta name="agentflow-sources" content="([0-9a-f]{64})">')


@attrs.frozen(kw_only=True)
class Page:
    """The page and what it may do.

    Attributes:
        html: The file, as UTF-8.
        policy: Its Content-Security-Policy: its own script and style by their hashes, its
            own server, nothing else.
        sources: Hash of the sources it was built from, in hexadecimal.
    """

    html: bytes
    policy: str
    sources: str


@cache
def load_page() -> Page:
    """Read the page that is installed beside this module; once is enough."""
    html = files("agentflow.viewer").joinpath("page.html").read_bytes()
    text = html.decode()
    policy, sources = _POLICY.search(text), _SOURCES.search(text)
    assert policy is not None, "page.html has no policy; build it with: nox -s page"
    assert sources is not None, "page.html names no sources; build it: nox -s page"
    # What a <meta> cannot say: that nobody may put the page into a frame.
    return Page(
        html=html,
        policy=f"{policy[1]}; frame-ancestors 'none'",
        sources=sources[1],
    )
