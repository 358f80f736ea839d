"""The page at `/`: ask, turn the dial, watch the model think. Static files over this server's public routes.

The page holds no secrets and needs no API key; what it asks of the API does. It requests nothing of any other
host, and its policy lets nothing run but its own scripts: text of models and users becomes text nodes only.
"""

from importlib.resources import files

from fastapi import APIRouter, Response

PAGE = "index.html"
MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No script may turn a string into markup or code, not even our own.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def _read() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each static file, by its path on the server."""
    found = {}
    for file in files(__name__).iterdir():
        media_type = MEDIA_TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            path = "/" if file.name == PAGE else f"/playground/{file.name}"
            found[path] = (file.read_bytes(), media_type)
    return found


FILES = _read()
"""Read once: they are small, and a server's page is that of its version."""

router = APIRouter(include_in_schema=False)


def _serve(path: str, content: bytes, media_type: str) -> None:
    @router.get(path)
    async def static() -> Response:
        return Response(content, media_type=media_type, headers=HEADERS)


for path, (content, media_type) in FILES.items():
    _serve(path, content, media_type)
