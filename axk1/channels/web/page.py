"""The chat page: three files, as they are; nothing is built and nothing comes from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

_FOLDER = Path(__file__).parent
_HEADERS = {
    # What a model writes is shown as text; were it ever taken for HTML, the browser would still run none of it.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_FILES = {"/": "index.html", "/web/style.css": "style.css", "/web/chat.js": "chat.js", "/web/words.js": "words.js"}


def router() -> APIRouter:
    """The routes of the page: ``/`` and what it loads."""
    routes = APIRouter(include_in_schema=False)
    for path, name in _FILES.items():
        routes.add_api_route(path, _sender(name), methods=["GET"])
    return routes


def _sender(name: str):
    async def send() -> FileResponse:
        return FileResponse(_FOLDER / name, headers=_HEADERS)

    return send
