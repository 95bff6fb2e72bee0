"""Images of players: upload and remove one's own, and show any."""

from typing import Any, Final

from apiflask import APIBlueprint
from flask import Response, request

from neobank.players import pictures
from neobank.players.operations import profile
from neobank.players.pictures import FORMATS, MAX_PIXELS, MAX_UPLOAD, SIDE, STORED_TYPE
from neobank.players.schemas import ProfileChanged, User
from neobank.settings import Limit
from neobank.web.authentication import bearer, current_caller
from neobank.web.bank import current_bank
from neobank.web.rate_limits import by_account, limited
from neobank.web.requests import content_of, takes

pictures_blueprint = APIBlueprint("pictures", __name__, url_prefix="/api/v1", tag="Account")

_SHOWN: Final[dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]] = {  # in the form that APIFlask accepts
    200: {"description": "The image", "content": {STORED_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
    404: {},
}
_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",  # another image has another path
    "Cross-Origin-Resource-Policy": "cross-origin",  # pages of the configured CORS origins show it
}


@pictures_blueprint.put("/account/picture")
@pictures_blueprint.auth_required(bearer)
@takes([*FORMATS], {"type": "string", "format": "binary"})
@pictures_blueprint.output(ProfileChanged)
@pictures_blueprint.doc(
    description=(
        f"The body is a PNG, JPEG or WebP image of at most {MAX_UPLOAD} bytes and {MAX_PIXELS} pixels, not animated. "
        f"The bank keeps a smaller copy, of at most {SIDE} pixels in width and height, without metadata such as the "
        "place. `profile_picture` is then its path."
    ),
    responses=[429],
)
@limited(Limit.PICTURES, by_account)
def put_picture() -> ProfileChanged:
    """Upload an image as the caller's picture."""
    image = pictures.encode(content_of(request, FORMATS, MAX_UPLOAD))
    account_id = current_caller().account_id
    with current_bank().transaction() as connection:
        pictures.store(connection, account_id, image)
        player = profile(connection, account_id)
    return ProfileChanged(message="Your picture is up to date.", account=User.of(player))


@pictures_blueprint.delete("/account/picture")
@pictures_blueprint.auth_required(bearer)
@pictures_blueprint.output(ProfileChanged)
def delete_picture() -> ProfileChanged:
    """Remove the caller's picture, also an emoji or an older URL."""
    account_id = current_caller().account_id
    with current_bank().transaction() as connection:
        pictures.remove(connection, account_id)
        player = profile(connection, account_id)
    return ProfileChanged(message="Your picture is removed.", account=User.of(player))


@pictures_blueprint.get("/pictures/<token>")
@pictures_blueprint.doc(responses=_SHOWN)
def get_picture(token: str) -> Response:
    """Show the image with this path, as `profile_picture` contains it. An <img> of a page sends no token."""
    with current_bank().statement() as connection:
        return Response(pictures.stored(connection, token), mimetype=STORED_TYPE, headers=_HEADERS)
