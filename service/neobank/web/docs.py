"""The page /docs: Swagger UI, which shows the OpenAPI document and can send a request to each route.

The bank serves every file that the page loads. The page contains no inline script or style: its Content-Security-Policy
allows neither these nor files from another origin.
"""

from importlib.resources import files
from typing import Final

from apiflask import APIBlueprint
from flask import Response

from neobank.errors import NotFound

blueprint = APIBlueprint("docs", __name__, url_prefix="/docs", enable_openapi=False)

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>NeoBank</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START: Final = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null});\n'

_FOLDER: Final = files("flask_swagger_ui").joinpath("dist")
_FILES: Final = {
    "favicon-32x32.png": "image/png",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}


@blueprint.get("")
def get_page() -> Response:
    """Return the page."""
    return Response(_PAGE, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})


@blueprint.get("/start.js")
def get_start() -> Response:
    """Return the script that starts Swagger UI."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/<name>")
def get_file(name: str) -> Response:
    """Return a file of Swagger UI that the page loads; a browser may cache it for a day."""
    if name not in _FILES:
        raise NotFound(f"/docs has no file {name}.")
    content = _FOLDER.joinpath(name).read_bytes()
    return Response(content, content_type=_FILES[name], headers={"Cache-Control": "public, max-age=86400"})
