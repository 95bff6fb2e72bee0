"""Character names, and the key that is equal for names that read the same."""

import unicodedata
from typing import Final

MAX_NAME: Final = 100


def tidy(name: str) -> str:
    """Return a name without outer and repeated white space.

    Raise ValueError, with a message for the user, if it is empty, too long or has invisible characters.
    """
    tidied = " ".join(name.split())
    if not tidied:
        raise ValueError("a name must have at least one character.")
    if len(tidied) > MAX_NAME:
        raise ValueError(f"a name must have at most {MAX_NAME} characters.")
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"} for character in tidied):
        raise ValueError("a name must have only visible characters.")
    return tidied


def key(name: str) -> str:
    """Return the key of a name: NFKC, then casefold. Computed here, because the database's locale is C."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
