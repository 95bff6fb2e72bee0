"""Character names, and the key by which two names count as the same."""

import unicodedata
from typing import Final

MAX_NAME: Final = 100


def tidy(name: str) -> str:
    """Trim a name and its inner white space. Raises ValueError, in words, for a name that can't be shown."""
    tidied = " ".join(name.split())
    if not tidied:
        raise ValueError("a name has at least one character.")
    if len(tidied) > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} characters.")
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"} for character in tidied):
        raise ValueError("a name has visible characters only.")
    return tidied


def key(name: str) -> str:
    """Fold a name so that two that read the same are equal: NFKC, then casefold (the database's own locale is C)."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
