"""The chat page: the files of this folder, as they are; nothing is built and nothing comes from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

_FOLDER = Path(__file__).parent
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # No script may hand HTML to the browser at all; the one policy that is allowed names the service worker's file.
    "require-trusted-types-for 'script'; trusted-types worker"
)
_HEADERS = {
    # What a model writes is shown as text; were it ever taken for HTML, the browser would still run none of it.
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Service-Worker-Allowed": "/",
}


def router() -> APIRouter:
    """The routes of the page: ``/``, and what it loads under ``/web``."""
    routes = APIRouter(include_in_schema=False)
    for file in sorted(_FOLDER.rglob("*")):
        if file.suffix in _TYPES:
            path = "/" if file.name == "index.html" else f"/web/{file.relative_to(_FOLDER).as_posix()}"
            routes.add_api_route(path, _sender(file), methods=["GET"])
    return routes


def _sender(file: Path):
    async def send() -> FileResponse:
        return FileResponse(file, headers=_HEADERS, media_type=_TYPES[file.suffix])

    return send
