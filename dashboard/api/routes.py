"""This file knows where the interface for programs hangs beside the pages, and what holds for all of its paths."""

import time
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.api.acting import acting_routes
from dashboard.api.callers import Callers
from dashboard.api.description import POLICY, as_page
from dashboard.api.problems import RESPONSES, Problem, answer_problems, problem
from dashboard.api.reading import reading_routes
from dashboard.errors import DatabaseUnavailable
from dashboard.runtime import Dashboard
from schemas.requests import MAX_VALUES_BYTES

PREFIX = "/api/v1"
MAX_BODY_BYTES = MAX_VALUES_BYTES + 16_384
_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


def api_routes(board: Dashboard, *, now_s: Callable[[], float] = time.monotonic) -> list[BaseRoute]:
    """The routes to serve beside the pages."""

    def healthz(_request: Request) -> JSONResponse:
        try:
            with board.reader.read():
                return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})
        except DatabaseUnavailable as unavailable:
            return problem(503, f"the site's database cannot be read ({unavailable.kind})")

    return [Route("/healthz", healthz), Mount(PREFIX, app=_Bounded(make_app(board, now_s=now_s)))]


def make_app(board: Dashboard, *, now_s: Callable[[], float] = time.monotonic) -> FastAPI:
    """The interface as an application of its own."""
    app = FastAPI(
        title=f"{board.settings.title}: interface for programs",
        description="Read what the pages show, and ask for what the pages can ask for. Times are in UTC and in "
        "microseconds since 1970. Errors are application/problem+json (RFC 9457).",
        version="1",
        docs_url=None,
        redoc_url=None,
        responses=RESPONSES,
    )
    answer_problems(app)
    callers = Callers.build(board, now_s)
    caller = callers.dependency()
    app.include_router(reading_routes(board, callers, caller))
    app.include_router(acting_routes(board, caller))

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(as_page(app.openapi()), headers={"Content-Security-Policy": POLICY})

    _name_problem(app)
    return app


def _name_problem(app: FastAPI) -> None:
    described = app.openapi()
    described["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    described["components"]["schemas"].pop("HTTPValidationError", None)
    described["components"]["schemas"].pop("ValidationError", None)
    described["servers"] = [{"url": PREFIX}]


class _Bounded:
    """Refuses bodies that are too large, however they are sent, and has no answer kept by anybody between."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > MAX_BODY_BYTES:
            await problem(413, f"{MAX_BODY_BYTES} bytes are allowed")(scope, receive, send)
            return
        left = MAX_BODY_BYTES

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, bounded, sealed)
