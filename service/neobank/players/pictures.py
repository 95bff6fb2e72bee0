"""Profile pictures: one emoji, or the https URL of an image."""

import re
from typing import Final

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

# A URL that is safe in any HTML attribute: a host with a dot, no user, no quote, bracket or white space.
_URL = re.compile(
    r"https://(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}(?::[0-9]{1,5})?(?:[/?#][A-Za-z0-9\-._~:/?#@!$&()*+,;=%]*)?"
)


def picture(text: str) -> str:
    """Return the picture, trimmed. Raise ValueError with a message if it is neither an emoji nor an https URL."""
    trimmed = text.strip()
    if len(trimmed) > MAX_PICTURE:
        raise ValueError(f"must have at most {MAX_PICTURE} characters.")
    if not (_EMOJI.fullmatch(trimmed) or _URL.fullmatch(trimmed)):
        raise ValueError(
            "must be one emoji, or the URL of an image that starts with https:// and has no user, quote or space."
        )
    return trimmed
