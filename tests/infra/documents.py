"""Reads the parts of documents that tests check or run."""

import re
from pathlib import Path


def code_blocks(document: Path, language: str = "sh") -> list[str]:
    """Return a document's code blocks of a language, in order."""
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
