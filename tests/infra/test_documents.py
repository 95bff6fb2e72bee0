"""Every command, link, path and key in the documents exists: targets, objects, outputs, options.

Blocks marked `sh` are read line by line. These tests find a wrong name or option, not a wrong effect. Other tests run
the PostgreSQL runbook (tests/database), the commands in the outputs (test_commands.py) and the roll-outs
(tests/cluster).
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from neobank.cli import main
from settings import Settings, keys
from tests.absence import NEEDS_ENGINE
from tests.infra.documents import code_blocks
from tests.infra.program import CHECKOUT, Program
from tools.cluster import node

DOCUMENTS = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").rglob("*.md"))]
SHELL_TOOLS = {
    "cat",
    "cd",
    "curl",
    "diff",
    "eval",
    "export",
    "grep",
    "mkdir",
    "openssl",
    "rm",
    "sed",
    "sha256sum",
    "sh",
    "psql",
    "pg_dump",
    "pg_restore",
    "echo",
}
UNCHECKED = {"docker"}
"""Programs whose commands no test checks, as docs/production.md states."""

KUBECTL = str(node.KUBECTL) if node.KUBECTL.exists() else shutil.which("kubectl") or ""
"""The kubectl whose help the tests read; the local node has its own."""

ASSIGNMENT = re.compile(r"[A-Z_]+=")
FORWARD = "kubectl() {"
"""The start of a shell function that the documents define as a shorthand."""

# kubectl's names of kinds, with the names that the program uses.
KINDS = {
    "deployments": "Deployment",
    "cronjobs": "CronJob",
    "jobs": "Job",
    "services": "Service",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "serviceaccounts": "ServiceAccount",
    "networkpolicies": "NetworkPolicy",
    "networkpolicy": "NetworkPolicy",
    "ingresses": "Ingress",
    "ingress": "Ingress",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "horizontalpodautoscaler": "HorizontalPodAutoscaler",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "poddisruptionbudget": "PodDisruptionBudget",
}
OTHERS = {"pods", "pod", "pvc", "nodes", "storageclasses", "ingressclass", "clusterissuer"}
MADE_OUTSIDE = {"postgres-upgrade", "postgres-17", "postgres-pvc", "traefik", "letsencrypt"}


def blocks(document: Path) -> Iterator[str]:
    yield from code_blocks(document)
    text = document.read_text(encoding="utf-8")
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if code.startswith(("kubectl ", "make ", "pulumi ", "neobank ")) and "…" not in code:
            yield code


def commands(document: Path) -> Iterator[list[str]]:
    """Yield the words of each command, including the commands inside quotes and substitutions."""
    for block in blocks(document):
        for line in block.replace("\\\n", " ").replace("|\n", "| ").splitlines():
            if not line.startswith(FORWARD):
                yield from within(line.partition("  #")[0].strip().strip("()"))


def within(line: str) -> Iterator[list[str]]:
    for inner in re.findall(r"\$\(((?:[^()]|\([^()]*\))*)\)", line):
        yield from within(inner)
    lexer = shlex.shlex(re.sub(r"\$\(.*?\)", "SUBSTITUTED", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def program_of(words: list[str]) -> tuple[str, list[str]]:
    """Return a command's program and arguments, without preceding assignments and following redirections."""
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    cut = next((index for index, word in enumerate(words) if word in {"<", ">", ">>"}), len(words))
    words = words[:cut]
    return (words[0].rpartition("/")[2], words[1:]) if words else ("", [])


def with_inner(words: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield a command, and the command that it runs in a container or passes to the engine."""
    program, arguments = program_of(words)
    yield program, arguments
    if program == "kubectl" and "--" in arguments:
        inner = arguments[arguments.index("--") + 1 :]
        for found in within(inner[2]) if inner[:2] == ["sh", "-c"] else [inner]:
            yield from with_inner(found)
    for argument in arguments if program == "make" and arguments[0] in ENGINE else []:
        if argument.startswith("ARGS="):
            yield "pulumi", [ENGINE[arguments[0]], *argument.removeprefix("ARGS=").split()]


ENGINE = {"up": "up", "preview": "preview", "down": "destroy"}
ALL = [(document, *it) for document in DOCUMENTS for words in commands(document) for it in with_inner(words)]


def of(program: str) -> list[tuple[str, list[str]]]:
    return [(document.name, words) for document, found, words in ALL if found == program]


def test_every_program_in_the_documents_is_known() -> None:
    checked = {"", "make", "kubectl", "pulumi", "neobank", "python"}
    assert {program for _, program, _ in ALL} <= checked | SHELL_TOOLS | UNCHECKED
    assert min(len(of(program)) for program in ("make", "kubectl", "pulumi", "neobank")) > 3


@pytest.mark.parametrize(("document", "words"), of("make"))
def test_every_target_and_variable_is_in_the_makefile(document: str, words: list[str]) -> None:
    del document
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"\$\((SECRETS|[A-Z]+)\)", makefile))
    given = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    assert {word for word in words if "=" not in word} <= targets
    assert given.keys() <= variables
    assert (CHECKOUT / f"Pulumi.{given.get('STACK', 'dev')}.yaml").exists() or not given.get("STACK")
    for test in re.findall(r"tests/\S+\.py", given.get("ARGS", "")):
        assert (CHECKOUT / test).exists()


def test_every_neobank_command_exists() -> None:
    for document, words in of("neobank"):
        found: click.Command = main
        for word in words:
            if word in {"|", "SUBSTITUTED"} or word.startswith("-"):
                continue
            assert isinstance(found, click.Group), (document, words)
            assert word in found.commands, (document, words)
            found = found.commands[word]


def test_every_python_module_exists() -> None:
    for document, words in of("python"):
        assert words[0] == "-m"
        path = CHECKOUT / words[1].replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), document


def named_objects(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each kind and name in a kubectl command."""
    positional = [word for word in words if not word.startswith("-")]
    for index, word in enumerate(positional[1:], start=1):
        if "/" in word:
            kind, _, name = word.partition("/")
            yield kind, name
        elif word in OTHERS and index + 1 < len(positional):
            yield word, positional[index + 1]


@pytest.mark.parametrize(("document", "words"), of("kubectl"))
def test_every_object_is_made_by_the_program(prod: Program, document: str, words: list[str]) -> None:
    del document
    words = words[: words.index("--")] if "--" in words else words
    made = {(it.kind.lower(), it.object_name or it.name) for it in prod.kubernetes()}
    for kind, name in named_objects(words):
        assert (kind, name) in made or name in MADE_OUTSIDE, (kind, name)
    listed = {kind for word in words[1:] if "," in word and "=" not in word for kind in word.split(",")}
    assert listed <= KINDS.keys() | OTHERS
    containers = {
        it["name"] for _, pod in prod.pods() for it in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
    }
    labels = {f"{key}={value}" for _, pod in prod.pods() for key, value in pod["metadata"]["labels"].items()}
    labels.add("app.kubernetes.io/managed-by=pulumi")
    for word in words:
        if word.startswith("--container="):
            assert word.partition("=")[2] in containers | {"copy", "bank"}
        if word.startswith("--selector="):
            assert word.partition("=")[2] in labels


@cache
def help_of(*command: str) -> str:
    return subprocess.run([*command], capture_output=True, text=True, check=False, timeout=60).stdout


@pytest.mark.skipif(
    KUBECTL == "", reason="there is no kubectl, neither the node's nor on PATH, whose help lists its options"
)
@pytest.mark.parametrize(("document", "words"), of("kubectl"))
def test_kubectl_has_every_option(document: str, words: list[str]) -> None:
    del document
    words = words[: words.index("--")] if "--" in words else words
    verbs = words[2 * words.count("--namespace") :]  # options for every verb come first
    verb = verbs[:2] if verbs[0] == "rollout" else verbs[:1]
    known = help_of(KUBECTL, *verb, "--help") + help_of(KUBECTL, "options")
    assert known
    for word in words:
        if word.startswith("--"):
            assert f"{word.partition('=')[0]}=" in known or f"{word.partition('=')[0]} " in known, word


@pytest.mark.parametrize(("document", "words"), of("pulumi"))
def test_every_output_exists(prod: Program, document: str, words: list[str]) -> None:
    del document
    if words[:2] == ["stack", "output"]:
        assert {word for word in words[2:] if not word.startswith("-")} <= {*prod.outputs, "dev", "prod"}


@NEEDS_ENGINE
@pytest.mark.parametrize(("document", "words"), of("pulumi"))
def test_pulumi_has_every_option(document: str, words: list[str]) -> None:
    del document
    known = help_of("pulumi", *(word for word in words[:2] if not word.startswith("-")), "--help")
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.partition('=')[0])}(?![\w-])", known), word


def test_every_link_has_a_target() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)", text):
            path = (document.parent / target).resolve() if target else document
            assert path.exists(), (document.name, target)
            if anchor:
                headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^a-z0-9 -]", "", it.lower()).replace(" ", "-") for it in headings}


def test_every_path_exists() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:docs|infra|policy|service|tests|tools|database)/[\w./-]+)`", text):
            assert (CHECKOUT / path).exists(), (document.name, path)


def test_every_stack_key_exists() -> None:
    for document in DOCUMENTS:
        for key in re.findall(r"neobank:([A-Za-z]+):", document.read_text(encoding="utf-8")):
            assert key in keys(Settings), (document.name, key)
