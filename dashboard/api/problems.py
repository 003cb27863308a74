"""This file knows how a program is told that something is wrong: RFC 9457, one shape for every status."""

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from dashboard.errors import DatabaseUnavailable, RequestNotWritten

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad request", 401: "Not signed in", 403: "Not allowed", 404: "Not found", 405: "No such method here",
    413: "Too large", 422: "Not understood", 429: "Too many requests", 500: "An error of ours",
    503: "The site does not answer",
}  # fmt: skip


class Problem(BaseModel):
    """What was found, and what is allowed instead."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


RESPONSES: dict[int | str, dict[str, object]] = {
    status: {
        "description": _TITLES[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in (401, 403, 404, 422, 429, 503)
}
"""What every path may answer besides what it promises."""


def answer_problems(app: FastAPI) -> None:
    """Have every error of an application answered as a problem."""
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(DatabaseUnavailable, _unavailable)
    app.add_exception_handler(RequestNotWritten, _unavailable)
    app.add_exception_handler(Exception, _our_error)


def refusal(status: int, detail: str, *, retry_after_s: int | None = None) -> HTTPException:
    """Make the exception that becomes a problem."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return HTTPException(status, detail, headers=headers)


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer itself."""
    body = Problem(title=_TITLES.get(status, "Refused"), status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    return problem(error.status_code, str(error.detail), dict(error.headers or {}))


async def _not_understood(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:5]]
    return problem(422, "; ".join(found))


async def _unavailable(_request: Request, error: Exception) -> JSONResponse:
    detail = error.detail if isinstance(error, DatabaseUnavailable) else str(error)
    return problem(503, detail, {"Retry-After": "5"})


async def _our_error(_request: Request, _error: Exception) -> JSONResponse:
    return problem(500, "the log of the dashboard says more")
