"""Profile pictures: one emoji, or an image that the bank keeps. Older ones may be the https URL of an image."""

import io
import re
import secrets
import warnings
from threading import Lock
from typing import Final

from PIL import Image, ImageOps, PngImagePlugin
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from neobank.errors import BankError, Busy, NotFound
from neobank.players.models import Picture, Player

MAX_PICTURE: Final = 500

# The grammar of Unicode's UTS #51 (emoji sequences), over the blocks that contain emoji: Python has no table of them.
_BASE = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    "\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f004-\U0001f1e5\U0001f200-\U0001faff]"
)
_ELEMENT = _BASE + "(?:\ufe0f|[\U0001f3fb-\U0001f3ff])?(?:[\U000e0020-\U000e007e]{1,10}\U000e007f)?"
_FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
_KEYCAP = "[0-9#*]\ufe0f?\u20e3"
_EMOJI = re.compile(f"{_ELEMENT}(?:\u200d{_ELEMENT}){{0,5}}|{_FLAG}|{_KEYCAP}")

MAX_UPLOAD: Final = 512 * 1024
"""The maximum size of an uploaded image, in bytes."""

MAX_PIXELS: Final = 2_000_000
"""The maximum number of pixels of an uploaded image. Decoding WebP, the worst case, takes 22 bytes of memory each."""

SIDE: Final = 256
"""The maximum width and height of a stored image, in pixels."""

MAX_SCANS: Final = 100
"""The maximum number of scans of a JPEG. Its decoder passes over the whole image for each; encoders write about ten."""

FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
"""The content types of uploads, with Pillow's names of their formats."""

STORED_TYPE: Final = "image/webp"

_PATH: Final = "/api/v1/pictures/"
_WAIT: Final = 2  # seconds for which an upload waits for the one that the process is decoding
_decoding = Lock()

_START_OF_SCAN: Final = b"\xff\xda"  # JPEG's marker, which its compressed data can't contain

PngImagePlugin.MAX_TEXT_MEMORY = 2**20  # characters, of up to 4 bytes each; decompressed before the size is known
warnings.filterwarnings("ignore", module="PIL")  # one for each invalid field of an image's metadata


class InvalidImage(BankError):
    """The upload is not an image that the bank accepts."""


class TooManyImages(Busy):
    """The process is decoding another image."""

    def __init__(self) -> None:
        super().__init__("Too many pictures are being uploaded right now: try again in a few seconds.")


def is_emoji(text: str) -> bool:
    """Return whether a text is one emoji."""
    return _EMOJI.fullmatch(text) is not None


def encode(content: bytes) -> bytes:
    """Return an image as the bank stores it: WebP of at most SIDE pixels in width and height, without metadata.

    A process decodes one image at a time, so that many uploads need no more memory than one. Raise InvalidImage or
    TooManyImages.
    """
    if not _decoding.acquire(timeout=_WAIT):
        raise TooManyImages
    try:
        return _encode(content)
    except BankError:
        raise
    except Exception:  # noqa: BLE001  # Pillow's decoders raise exceptions of many types for malformed files
        raise InvalidImage("The file is damaged, or not a PNG, JPEG or WebP image: send another one.") from None
    finally:
        _decoding.release()


def _encode(content: bytes) -> bytes:
    if content.startswith(b"\xff\xd8") and content.count(_START_OF_SCAN) > MAX_SCANS:
        raise InvalidImage(f"The image has more than {MAX_SCANS} scans: save it without them, and send it again.")
    with Image.open(io.BytesIO(content), formats=[*FORMATS.values()]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise InvalidImage(
                f"The image has {image.width} x {image.height} pixels: send at most {MAX_PIXELS} pixels in all."
            )
        # A JPEG with several pictures (MPO), as some cameras write it, is shown as its first one.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise InvalidImage("The image is animated: send one that is not.")
        image.draft("RGB", (SIDE, SIDE))  # a JPEG is decoded at a fraction of its size
        upright = ImageOps.exif_transpose(image)
    shown = upright if upright.mode in {"RGB", "RGBA"} else upright.convert("RGBA")
    shown.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    # A new image, because a converted one keeps the metadata of its source, and the encoder writes them.
    clean = Image.new("RGBA", shown.size)
    clean.paste(shown.convert("RGBA"))
    encoded = io.BytesIO()
    clean.save(encoded, "WEBP", quality=80)
    return encoded.getvalue()


def path_of(token: str) -> str:
    """Return the path under which the bank serves a stored image."""
    return f"{_PATH}{token}"


def store(connection: Connection, account_id: int, image: bytes) -> None:
    """Make an encoded image the picture of a player, under a new path, which no other player can guess."""
    token = secrets.token_urlsafe(16)
    values = {"token": token, "image": image}
    statement = insert(Picture).values(values | {"account_id": account_id})
    _show(connection, account_id, path_of(token))
    connection.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))


def remove(connection: Connection, account_id: int, instead: str | None = None) -> None:
    """Replace the picture of a player by an emoji, or by none."""
    _show(connection, account_id, instead)
    connection.execute(delete(Picture).where(Picture.account_id == account_id))


def _show(connection: Connection, account_id: int, picture: str | None) -> None:
    """Change what a player shows. It locks the player, so that one change of the picture waits for another."""
    connection.execute(update(Player).where(Player.account_id == account_id).values(profile_picture=picture))


def change(connection: Connection, account_id: int, picture: str) -> None:
    """Change a player's picture to an emoji. The present value of any kind may be sent again.

    Raise InvalidImage for another text. The URL of an image elsewhere would tell its server who looks at it.
    """
    picture = picture.strip()
    if is_emoji(picture):
        remove(connection, account_id, instead=picture)
        return
    present = connection.execute(select(Player.profile_picture).where(Player.account_id == account_id)).scalar_one()
    if picture != present:
        raise InvalidImage(
            "profile_picture: must be one emoji. The bank does not show images of other servers: upload an image with"
            " PUT /api/v1/account/picture."
        )


def stored(connection: Connection, token: str) -> bytes:
    """Return the stored image with this token. Raise NotFound if there is none."""
    image = connection.execute(select(Picture.image).where(Picture.token == token)).scalar_one_or_none()
    if image is None:
        raise NotFound("There is no such picture: its player has changed it.")
    return bytes(image)
