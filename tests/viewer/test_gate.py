"""Who may see a trace: the host name, the token, and whose page asks."""

import pytest

from agentflow import UsageError
from agentflow.viewer._gate import Gate, new_token

TOKEN = "a-token-of-16-or-more"


def refusal(
    gate: Gate | None = None,
    *,
    host: str = "127.0.0.1:8000",
    site: str | None = None,
    bearer: str | None = TOKEN,
) -> str:
    """Ask the gate about a request."""
    headers = {"host": host}
    if site is not None:
        headers["sec-fetch-site"] = site
    if bearer is not None:
        headers["authorization"] = f"Bearer {bearer}"
    return (gate or Gate.of(TOKEN, ())).refusal(headers, {}, "")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:80"]
)
def test_the_loopback_names_are_served(host: str) -> None:
    """With any port, in any case."""
    assert refusal(host=host) == ""


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "::1"],
)
def test_another_host_is_refused_and_named(host: str) -> None:
    """A page whose own name resolves to this machine gets nothing."""
    assert f"host {host!r} is not served" in refusal(host=host)


def test_a_host_that_was_named_is_served() -> None:
    """Beside the loopback names, not instead of them."""
    gate = Gate.of(TOKEN, ["Traces.Example.com:8443"])
    assert refusal(gate, host="traces.example.com") == ""
    assert refusal(gate) == ""


@pytest.mark.parametrize("bearer", [None, "", "wrong", TOKEN[:-1], f"{TOKEN}x", "é"])
def test_without_the_token_there_is_nothing_to_see(bearer: str | None) -> None:
    """The answer says what to do."""
    assert "open the whole link" in refusal(bearer=bearer)


def test_the_cookie_lets_in_by_its_own_name() -> None:
    """Two viewers on ports of one host share their cookies, but not their names."""
    gate, other = Gate.of(TOKEN, ()), Gate.of(new_token(), ())
    headers = {"host": "localhost"}
    assert gate.refusal(headers, {gate.cookie: TOKEN}, "") == ""
    assert gate.refusal(headers, {other.cookie: TOKEN}, "") != ""
    assert gate.refusal(headers, {gate.cookie: other.token}, "") != ""


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_origin_is_refused_with_the_cookie_too(site: str) -> None:
    """Also one of another port: the browser sends it our cookie."""
    assert "another origin" in refusal(site=site)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_page_itself_and_the_address_bar_are_let_in(site: str) -> None:
    """They are what the browser says of itself and of a person."""
    assert refusal(site=site) == ""


def test_the_link_works_from_a_page_of_any_site() -> None:
    """A chat or a mail in the browser may hold it."""
    gate = Gate.of(TOKEN, ())
    headers = {"host": "localhost", "sec-fetch-site": "cross-site"}
    assert gate.refusal(headers, {}, TOKEN) == ""
    assert gate.refusal({"host": "evil.example"}, {}, TOKEN) != ""


@pytest.mark.parametrize("token", ["", "short", "sixteen letters!", "x" * 15])
def test_a_token_that_is_weak_or_unfit_for_a_link_is_refused(token: str) -> None:
    """The error says what will do."""
    with pytest.raises(UsageError, match="16 or more letters"):
        Gate.of(token, ())


def test_new_tokens_fit_and_differ() -> None:
    """Nobody has to think of one."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        Gate.of(token, ())
