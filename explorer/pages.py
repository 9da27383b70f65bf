"""The pages: HTML made on the server."""

from __future__ import annotations

from html import escape

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)


def error_page(request: Request, status: int, sentence: str) -> HTMLResponse:
    """A page that says what went wrong."""
    return HTMLResponse(f"<!doctype html><title>Steam RecSys</title><p>{escape(sentence)}</p>\n", status)
