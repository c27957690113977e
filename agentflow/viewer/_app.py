"""The trace page as a Starlette app; the one file that imports starlette."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import anyio
import anyio.lowlevel

from agentflow.viewer._feed import Feed, Price
from agentflow.viewer._gate import Gate
from agentflow.viewer._page import Page, load_page
from agentflow.viewer._source import Source, feed_of

try:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, RedirectResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as _error:
    raise ImportError(
        "agentflow.viewer needs starlette: pip install 'trio-agentflow[viewer]'"
    ) from _error


def create_app(
    source: Source,
    *,
    token: str,
    hosts: Sequence[str] = (),
    prices: Mapping[str, Price] | None = None,
) -> Starlette:
    """Make the app that shows a trace, to be served or mounted in an app of yours.

    ::

        app = Starlette(routes=[Mount("/trace", create_app("run.jsonl", token=token))])

    The page is then at ``/trace/?token=...``. Whoever comes without the token, or by a
    host name that is not served, gets 403.

    Args:
        source: A trace file, which is read anew for each visit; the file of a
            `SQLiteJournal`, which is followed; or the `LiveTrace` of a session.
        token: What a visitor must know: 16 or more letters, digits, ``-`` and ``_``.
        hosts: Names by which the app is reached, besides those of the loopback
            interface, such as "traces.example.com".
        prices: By the models' names, what they cost; without, the page shows no costs.

    Returns:
        The app.

    Raises:
        UsageError: There is no such file, or the token will not do.
        JournalError: It is a database, and no journal.
    """
    gate = Gate.of(token, hosts)
    return app_of(feed_of(source, prices or {}), gate)


def app_of(feed: Feed, gate: Gate) -> Starlette:
    """Make the app of its two parts."""
    page = load_page()
    headers = _headers(page)

    def refused(request: Request) -> Response | None:
        link_token = request.query_params.get("token", "")
        why = gate.refusal(request.headers, request.cookies, link_token)
        if why:
            status = HTTPStatus.FORBIDDEN
            return PlainTextResponse(f"agentflow: {why}\n", status, headers)
        return None

    async def show(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        refusal = refused(request)
        if refusal is not None:
            return refusal
        if gate.is_token(request.query_params.get("token", "")):
            return _without_token(request, gate, headers)
        return Response(page.html, media_type="text/html", headers=headers)

    async def records(request: Request) -> Response:
        await anyio.lowlevel.checkpoint()
        refusal = refused(request)
        if refusal is not None:
            return refusal
        return _Pouring(feed, request.headers.get("last-event-id", ""), headers)

    return Starlette(routes=[Route("/", show), Route("/records", records)])


def _headers(page: Page) -> dict[str, str]:
    """Say with every answer what the browser must not do with it."""
    return {
        "content-security-policy": page.policy,
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


def _without_token(request: Request, gate: Gate, headers: dict[str, str]) -> Response:
    """Keep the token in a cookie, and lead to the page without it."""
    # The path alone would do, but for a proxy that serves us below another one.
    answer = RedirectResponse("./", HTTPStatus.SEE_OTHER, headers)
    answer.set_cookie(
        gate.cookie,
        gate.token,
        path=request.url.path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


class _Pouring(Response):
    """A feed as the body of an answer, until it ends or the reader is gone."""

    media_type = "text/event-stream"

    def __init__(self, feed: Feed, after: str, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._feed = feed
        self._after = after

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Cancellation: the answer ends as it is.
        """

        async def body(data: bytes, *, more: bool = True) -> None:
            await send({
                "type": "http.response.body",
                "body": data,
                "more_body": more,
            })

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel("the reader is gone")

        await send({
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        })
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await self._feed.pour(self._after, body)
            await body(b"", more=False)
            tasks.cancel_scope.cancel("all is sent")


class Cancellable:
    """An app whose life may be cut short.

    Starlette takes a cancellation for the failure of an app's shutdown, and anycorn then
    raises that instead. Ours has nothing to start and nothing to shut down.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Cancellation: the answer ends as it is.
        """
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
