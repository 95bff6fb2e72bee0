"""Names of players and factions: which ones may be given, when two are equal, and when two look alike."""

import json
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import regex

MAX_NAME: Final = 100

# Ignorable characters are invisible, such as U+034F and U+3164. Symbols other than the keyboard's, currencies and emoji
# are refused, because some of them are blank, such as U+2800 and U+1D159.
_VISIBLE = regex.compile(
    r"(?:(?!\p{Default_Ignorable_Code_Point})[\p{L}\p{M}\p{N}\p{P}\p{Sc}\p{Emoji_Presentation} -~])+"
)
_LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")


def tidy(name: str) -> str:
    """Return a new name without outer and repeated white space.

    Raise ValueError, with a message for the user, if it is empty, too long, has no letter or digit, or has characters
    that can't be seen.
    """
    tidied = " ".join(name.split())
    if not tidied:
        raise ValueError("a name must have at least one character.")
    if len(tidied) > MAX_NAME:
        raise ValueError(f"a name must have at most {MAX_NAME} characters.")
    if not _VISIBLE.fullmatch(tidied):
        raise ValueError("a name must have only visible characters: letters, digits, punctuation and emoji.")
    if not _LETTER_OR_DIGIT.search(tidied):
        raise ValueError("a name must have at least one letter or digit.")
    return tidied


def key(name: str) -> str:
    """Return the key of a name: NFKC, then casefold. Computed here, because the database's locale is C."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()


def skeleton(name: str) -> str:
    """Return a text that is the same for names that look alike, in any case.

    This is the skeleton of Unicode's UTS #39, before and after casefolding. `i` and `l` become one, because the capital
    I looks like a small l. It is for comparison only.
    """
    visible = _IGNORABLE.sub("", unicodedata.normalize("NFKD", " ".join(name.split())))
    folded = unicodedata.normalize("NFKD", _prototypes_of(visible).casefold())
    return _prototypes_of(folded).casefold().replace("i", "l")


def _prototypes_of(text: str) -> str:
    return "".join(_prototypes().get(character, character) for character in text)


@cache
def _prototypes() -> Mapping[str, str]:
    """Return the prototype of each character that looks like another text, from Unicode's confusables.txt.

    The file's data lists for each prototype its characters, and for each character its prototype, which may have
    several characters. Texts from right to left are within invisible marks.
    """
    content = files("confusable_homoglyphs").joinpath("confusables.json").read_text(encoding="utf-8")
    listed = {
        _IGNORABLE.sub("", text): [_IGNORABLE.sub("", other["c"]) for other in others]
        for text, others in json.loads(content).items()
    }
    return {text: _prototype(text, listed) for text in listed if len(text) == 1}


def _prototype(character: str, listed: Mapping[str, list[str]]) -> str:
    """Return the prototype of a character: the one text that it is listed with, unless that text is not its prototype.

    A pair of single characters lists each as the other's; which of the two is used does not matter.
    """
    others = listed[character]
    if len(others) > 1:
        return character
    [other] = others
    return other if len(other) > 1 or len(listed[other]) > 1 else min(character, other)
