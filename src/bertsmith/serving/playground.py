"""The playground: the pages at `/`, all from the package."""

from importlib import resources
from pathlib import PurePosixPath

from fastapi import FastAPI, HTTPException, Response

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
# Nothing on a page comes from elsewhere, and nobody may frame it.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def add_playground(app: FastAPI) -> None:
    """Serves `serving/web`, and the inspector's drawing code out of `reports/web`."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return _asset("index.html")

    @app.get("/web/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        return _asset(name)


def _asset(name: str) -> Response:
    kind = _TYPES.get(PurePosixPath(name).suffix)
    for package in ("bertsmith.serving", "bertsmith.reports"):
        found = resources.files(package) / "web" / name
        if kind is not None and "/" not in name and found.is_file():
            headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
            return Response(found.read_bytes(), 200, headers, f"{kind}; charset=utf-8")
    raise HTTPException(404, "Not Found")
