"""A wrong key or value stops the program before its first resource, with one sentence that names it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
import yaml
from pydantic import BaseModel

from contract import CONTRACT
from settings import Key, Settings, keys
from tests.infra.options import leaves, nested, read
from tests.infra.program import CHECKOUT, DIGEST_IMAGE, PROD, Config, FakeProviders, Recorder, merged, run, stack_file

INVALID: list[tuple[str, Any, str]] = [
    ("namespace", "", "1 to 63"),
    ("namespace", "Neo_Tropolis", "1 to 63"),
    ("namespace", "-a", "1 to 63"),
    ("namespace", "a" * 64, "1 to 63"),
    ("createNamespace", "yes", "true or false"),
    ("createNamespace", 1, "true or false"),
    ("protectData", "", "true or false"),
    ("kubeContext", "two words", "context"),
    ("imageRepository", "neobank:1.0@x", "without a tag"),
    ("imageRepository", "", "without a tag"),
    ("storageClass", "Fast Disk", "object"),
    ("adminName", "", "1 to 100"),
    ("adminName", " x", "1 to 100"),
    ("adminName", "x\ny", "1 to 100"),
    ("adminName", "x\u200by", "1 to 100"),
    ("adminName", "x\u034f", "1 to 100"),
    ("adminName", "x\u3164", "1 to 100"),
    ("adminName", "x\u2800", "1 to 100"),
    ("adminName", "...", "1 to 100"),
    ("postgres", 16, "major, flavour"),
    ("postgres", [], "major, flavour"),
    ("postgres.major", 15, "16, 17 or 18"),
    ("postgres.major", "16", "16, 17 or 18"),
    ("postgres.major", None, "16, 17 or 18"),
    ("postgres.flavour", "slim", "alpine or debian"),
    ("postgres.storage", "10GB", "1Gi"),
    ("postgres.storage", "500Mi", "1Gi"),
    ("postgres.storage", 10, "1Gi"),
    ("postgres.existingClaim", "a/b", "object"),
    ("postgres.cpu", "0", "250m"),
    ("postgres.cpu", "1.5", "250m"),
    ("postgres.memory", "511Mi", "512Mi"),
    ("postgres.memory", "1G", "512Mi"),
    ("postgres.settings", ["work_mem"], "postgresql.conf"),
    ("postgres.settings", {"work_mem": "8MB'\nfsync = 'off"}, "postgresql.conf"),
    ("postgres.settings", {"include 'x'": "a"}, "postgresql.conf"),
    ("postgres.settings", {"jit": None}, "postgresql.conf"),
    ("postgres.tls", "verify-full", "true or false"),
    ("postgres.tlsSecret", "My Secret", "object"),
    ("application.rateLimits", "payments=often", "payments=60/minute"),
    ("application.corsOrigins", "*", "https://panel.example.org"),
    ("application.corsOrigins", "https://a,https://a..b", '"https://a..b"'),
    ("application.replicas", 0, "1 to 64"),
    ("application.replicas", 65, "1 to 64"),
    ("application.replicas", True, "1 to 64"),
    ("application.replicas", 1.5, "1 to 64"),
    ("application.workers", "2", "1 to 64"),
    ("application.threads", 1, "2 to 512"),
    ("application.connections", 65, "1 to 64"),
    ("application.cpu", 1, "250m"),
    ("application.memory", "64Mi", "256Mi"),
    ("production", "yes", "true or false"),
    ("priorityClasses", 2, "true or false"),
    ("postgres.cpuLimit", "all", "250m"),
    ("application.cpuLimit", 2, "250m"),
    ("application.maxReplicas", 0, "1 to 64, or null"),
    ("application.targetCpu", 100, "10 to 95"),
    ("application.disruptionBudget", 1, "true or false"),
    ("pgbouncer.enabled", 1, "true or false"),
    ("pgbouncer.image", "pgbouncer:1.24", "sha256"),
    ("postgres.image", "postgres:16-alpine", "sha256"),
    ("pgbouncer.replicas", 0, "1 to 64"),
    ("pgbouncer.connections", 501, "1 to 500"),
    ("ingress.enabled", "true", "true or false"),
    ("ingress.className", "Traefik!", "object"),
    ("ingress.host", "bank", "bank.example.org"),
    ("ingress.host", "https://bank.example", "bank.example.org"),
    ("ingress.host", "*.example.org", "bank.example.org"),
    ("ingress.tlsSecret", "a b", "object"),
    ("ingress.clusterIssuer", "A", "object"),
    ("ingress.namespace", "", "1 to 63"),
    ("ingress.trustedProxies", 0, "1 to 8"),
    ("ingress.wait", None, "true or false"),
    ("network.policies", "on", "true or false"),
    ("network.monitoringNamespace", "a.b", "1 to 63"),
    ("migration.ttlSeconds", 0, "1 to 2592000"),
    ("rotation.owner", 2, "number, since"),
    ("rotation.owner.number", 0, "1 to 1000000"),
    ("rotation.admin.since", "22.11.2026", "2026-11-22"),
    ("rotation.admin.since", "2026-13-01", "2026-11-22"),
    ("casino.bankroll", 0, "1 to 100000000000"),
    ("openingBalance", 0, "1 to 1000000000"),
    ("casino.timeZone", "Berlin ", "Europe/Berlin"),
    ("casino.timeZone", "Mars/Phobos", "Europe/Berlin"),
    ("casino.bankroll", 10.5, "1 to 100000000000"),
]
"""The path of a key, an invalid value, and a part of the advice in the message, for the most part a limit."""

FEW = ["postgres.memory is 1Gi", "170 connections"]


VALID_RATE_LIMITS = [
    "on",
    "off",
    "payments=60/minute",
    "payments=1/second,logins=9/hour, polls=999999/day",
    " seeds=1/day ",
    "spins=1/day,spins=2/day",
    ",".join(f"{name}=7/second" for name in CONTRACT.rate_limits.defaults),
]
INVALID_RATE_LIMITS = [
    ("payment=60/minute", ""),
    ("often", ""),
    ("ON", ""),
    ("", ""),
    ("logins=9/hour,payment=60/minute", "payment=60/minute"),
    ("logins=9/hour,payments=often", "payments=often"),
    ("logins=9/hour,payments=0/minute", "payments=0/minute"),
    ("logins=9/hour,payments=-1/minute", "payments=-1/minute"),
    ("logins=9/hour,payments=1000000/day", "payments=1000000/day"),
    ("logins=9/hour,payments=٣/day", "payments=٣/day"),
    ("logins=9/hour,payments=60/week", "payments=60/week"),
    ("logins=9/hour,payments=60", "payments=60"),
    ("logins=9/hour,payments = 60/minute", "payments = 60/minute"),
    ("logins=9/hour,Payments=60/minute", "Payments=60/minute"),
    ("logins=9/hour,on", "on"),
    ("logins=9/hour;payments=60/minute", ""),
    ("payments=60/minute, ", " "),
]


def refusal(config: Config) -> list[str]:
    """Return the sentences with which a configuration is rejected, one for each error."""
    with pytest.raises(pulumi.RunError) as refused:
        read(config)
    first, *sentences = str(refused.value).splitlines()
    assert "configuration is not valid" in first
    assert "nothing was changed" in first
    return sentences


@pytest.mark.parametrize(("path", "value", "advice"), INVALID)
def test_an_invalid_value_is_rejected_with_its_key_and_what_is_allowed(path: str, value: object, advice: str) -> None:
    [message] = refusal(nested(path, value))
    assert message.startswith(f"{path} is {json.dumps(value, ensure_ascii=False)}")
    assert advice in message
    assert message.endswith(f" {allowed(path)}.")


def allowed(path: str) -> str:
    """Return the description of the values that a key takes."""
    section, _, name = f".{path}".rpartition(".")
    return keys(dict(sections())[section and f"{section[1:]}."])[name].allowed


@pytest.mark.parametrize("text", VALID_RATE_LIMITS)
def test_valid_rate_limits_reach_the_service_as_they_are_written(text: str) -> None:
    assert read({"application": {"rateLimits": text}}).application.rate_limits == text


@pytest.mark.parametrize(("text", "wrong"), INVALID_RATE_LIMITS)
def test_invalid_rate_limits_are_rejected_and_the_wrong_item_is_named(text: str, wrong: str) -> None:
    [message] = refusal({"application": {"rateLimits": text}})
    assert message.startswith(f'application.rateLimits is "{text}"')
    assert (f'"{wrong}" is invalid' in message) is bool(wrong)
    assert message.endswith(f" {allowed('application.rateLimits')}.")


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (
            {"application": {"replicas": 3, "maxReplicas": 2}},
            ["application.maxReplicas is 2", "less than application.replicas"],
        ),
        (
            {"application": {"replicas": 1, "disruptionBudget": True}},
            ["application.disruptionBudget is true", "one pod"],
        ),
        ({"ingress": {"enabled": True}}, ['ingress.host is ""', "Ingress needs"]),
        (
            {"ingress": {"host": "bank.example.org", "tlsSecret": "a", "clusterIssuer": "b"}},
            ["ingress.tlsSecret and ingress.clusterIssuer", "both"],
        ),
        (
            {"application": {"memory": "383Mi", "workers": 2}},
            ["application.memory is 383Mi", "2 workers", "384Mi"],
        ),
        ({"postgres": {"tlsSecret": "own"}}, ['postgres.tlsSecret is "own"', "postgres.tls is true"]),
        ({"postgres": {"settings": {"ssl": False}}}, ["postgres.settings.ssl is", "program"]),
        ({"postgres": {"settings": {"fsync": False}}}, ["postgres.settings.fsync is", "program"]),
        ({"postgres": {"settings": {"max_connections": 900}}}, ["postgres.settings.max_connections is", "program"]),
        (
            {"application": {"replicas": 2, "maxReplicas": 9}},
            [*FEW, "connections", "176", "raise", "set pgbouncer.enabled"],
        ),
        (
            {"pgbouncer": {"enabled": True, "image": DIGEST_IMAGE, "replicas": 4, "connections": 40}},
            [*FEW, "PgBouncer", "216", "raise", "lower pgbouncer.connections"],
        ),
        ({"pgbouncer": {"enabled": True}}, ['pgbouncer.image is ""', "`pgbouncer`"]),
        (
            {"postgres": {"settings": {"shared_buffers": "769MB"}}},
            ["postgres.settings.shared_buffers is 769MB", "shm (256Mi)", "more than postgres.memory", "1Gi"],
        ),
        (
            {"application": {"maxReplicas": 4, "cpu": "0"}},
            ['application.cpu is "0"', "it takes CPUs"],  # the autoscaler measures the load relative to it
        ),
        ({"ingress": {"tlsSecret": "a"}}, ['ingress.host is ""', "certificate", "ingress.tlsSecret"]),
        ({"ingress": {"clusterIssuer": "a"}}, ['ingress.host is ""', "certificate", "ingress.clusterIssuer"]),
        (
            {"application": {"cpu": "2500m"}},
            ["application.cpu is 2500m", "more than application.cpuLimit"],
        ),
        (
            {"postgres": {"cpu": "3", "cpuLimit": "2999m"}},
            ["postgres.cpu is 3", "more than postgres.cpuLimit", "2999m"],
        ),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(config: Config, parts: list[str]) -> None:
    [message] = refusal(config)
    assert message.startswith(parts[0])
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kubeContext": ""}, "kubeContext"),
        ({"protectData": False}, "protectData"),
        ({"application": {"replicas": 1, "disruptionBudget": False}}, "application.replicas"),
        ({"application": {"disruptionBudget": False}}, "application.disruptionBudget"),
        ({"application": {"rateLimits": "off"}}, "application.rateLimits"),
        ({"network": {"policies": False}}, "network.policies"),
        ({"pgbouncer": {"enabled": True, "image": DIGEST_IMAGE, "replicas": 1}}, "pgbouncer.replicas"),
        ({"postgres": {"tls": False}}, "postgres.tls"),
        ({"postgres": {"image": ""}}, "postgres.image"),
        ({"ingress": {"clusterIssuer": ""}}, "ingress.tlsSecret"),
    ],
)
def test_production_rejects_settings_that_are_unsafe_for_an_event(change: Config, named: str) -> None:
    assert named in [sentence.split(":")[0] for sentence in refusal(merged(PROD, change))]
    read({**merged(PROD, change), "production": False})


def test_more_memory_is_not_recommended_at_the_largest_number_of_connections() -> None:
    [message] = refusal({"postgres": {"memory": "8Gi"}, "application": {"replicas": 64}})
    assert "500 connections" in message
    assert "raise" not in message
    assert message.endswith("1056: set pgbouncer.enabled.")


def test_with_pgbouncer_the_bank_may_have_more_connections_than_the_database() -> None:
    crowd = {"application": {"replicas": 20, "workers": 4, "connections": 16, "memory": "1Gi"}}
    [message] = refusal(crowd)
    assert [part for part in FEW if part not in message] == []
    assert read({**crowd, "pgbouncer": {"enabled": True, "image": DIGEST_IMAGE}}).connections() == 76


def test_the_committed_prod_stack_lacks_only_host_context_and_the_databases_image() -> None:
    assert [sentence.split(" ")[0].removesuffix(":") for sentence in refusal(stack_file("prod"))] == [
        "ingress.host",
        "kubeContext",
        "postgres.image",
    ]
    read(PROD)


def test_production_rejects_an_image_without_a_digest() -> None:
    recorder = Recorder(FakeProviders())
    with pytest.raises(pulumi.RunError, match=r"neobank:0123456789abcdef has no digest"):
        run(PROD, recorder=recorder)
    assert [it.type for it in recorder.registered] == ["pulumi:pulumi:Stack"]


def test_every_key_has_an_invalid_value_in_the_table() -> None:
    named = {path for path, *_ in INVALID}
    shared = {
        f"rotation.{secret}" for secret in ("owner", "application", "backup", "metrics", "tls", "secretKey", "admin")
    }
    generic = {f"{secret}.{field}" for secret in shared for field in ("number", "since")}
    assert {path for path, _ in leaves()} - generic <= named
    assert {"rotation.owner.number", "rotation.admin.since"} <= named


def sections(section: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every section with its path, which ends with a point unless it is empty."""
    yield above, section
    for name, key in keys(section).items():
        if key.section:
            yield from sections(key.section, f"{above}{name}.")


@pytest.mark.parametrize(("above", "section"), list(sections()))
def test_an_unknown_key_is_rejected_with_the_known_ones_at_every_depth(above: str, section: type[BaseModel]) -> None:
    [message] = refusal(nested(f"{above}typo", 1))
    assert message.startswith(f"{above}typo is not a key")
    assert message.endswith(f" {', '.join(keys(section))}.")


@pytest.mark.parametrize("path", ["adminPassword", "postgres.password", "rotation.secret", "ingress.apiToken"])
def test_a_secret_in_plain_text_is_rejected_and_not_repeated(path: str) -> None:
    [message] = refusal(nested(path, "hunter2"))
    assert message.startswith(f"{path} is not a key")
    assert "secrets are generated" in message
    assert "rotation" in message
    assert "hunter2" not in message


TYPED = [(path, key) for path, key in leaves() if "." in path or key.info.annotation is not str]
"""The engine passes a text of the outer level unchanged, and checks with Pulumi.yaml that it is a text."""


@pytest.mark.parametrize(("path", "key"), TYPED)
def test_a_value_of_another_type_is_rejected_with_what_is_allowed(path: str, key: Key) -> None:
    [message] = refusal(nested(path, {"a": []}))
    assert message.startswith(f'{path} is {{"a": []}}')
    assert message.endswith(f" {key.allowed}.")
    assert key.info.description
    assert key.info.description.endswith(".")
    assert not key.info.is_required()


def test_all_errors_are_reported_at_once() -> None:
    wrong = {"namespace": "A", "postgres": {"major": 15, "x": 1}, "casino": {"bankroll": 0}, "unknown": "1"}
    assert len(refusal(wrong)) == 5


def test_the_value_of_a_secret_key_is_not_repeated() -> None:
    with pytest.raises(pulumi.RunError) as refused:
        Settings.read({"adminName": " hunter2", "password": "hunter2"}, hidden={"adminName"})
    assert "hunter2" not in str(refused.value)
    assert "adminName is a secret" in str(refused.value)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"postgres": {"major": 15}}, "postgres.major is 15"),
        ({"application": {"rateLimits": "payment=60/minute"}}, 'application.rateLimits is "payment=60/minute"'),
    ],
)
def test_an_invalid_configuration_registers_nothing(config: Config, sentence: str) -> None:
    recorder = Recorder(FakeProviders())
    with pytest.raises(pulumi.RunError, match=re.escape(sentence)):
        run(config, recorder=recorder)
    assert [it.type for it in recorder.registered] == ["pulumi:pulumi:Stack"]


def test_an_image_with_the_tag_latest_is_rejected() -> None:
    recorder = Recorder(FakeProviders())
    with pytest.raises(pulumi.RunError, match="NEOBANK_IMAGE is 'neobank:latest'"):
        run(stack_file("dev"), image="neobank:latest", recorder=recorder)
    assert [it.type for it in recorder.registered] == ["pulumi:pulumi:Stack"]


def test_a_date_needs_no_quotes() -> None:
    """The engine's YAML reader converts such a date to a time."""
    settings = read({"rotation": {"owner": {"number": 2, "since": "2026-11-22 00:00:00 +0000 UTC"}}})
    assert settings.rotation.owner.since == "2026-11-22"


def test_a_text_that_looks_like_another_type_stays_a_text() -> None:
    assert read({"adminName": "true", "namespace": "0123"}).admin_name == "true"


def test_an_empty_stack_has_the_default_settings() -> None:
    settings = read({})
    assert settings == Settings()
    assert settings.protect_data
    assert settings.image_repository == CONTRACT.image.repository


def test_the_project_file_declares_the_same_keys_with_the_same_defaults() -> None:
    types: dict[object, str] = {str: "string", bool: "boolean", int: "integer"}
    declared = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    assert list(declared) == list(keys(Settings))
    for name, key in keys(Settings).items():
        assert declared[name] == {
            "type": "object" if key.section else types[key.info.annotation],
            "default": {} if key.section else key.info.default,
            "description": key.info.description,
        }


def test_the_engine_can_install_the_program_and_its_packages() -> None:
    project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text(encoding="utf-8"))
    assert project["name"] == "neobank"
    assert project["runtime"] == {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}}
    assert (CHECKOUT / project["main"] / "requirements.txt").is_file()


def test_the_dev_stack_is_valid_and_small() -> None:
    settings = read(stack_file("dev"))
    assert (settings.namespace, settings.protect_data, settings.application.replicas) == ("neotropolis-dev", False, 1)


def test_the_documentation_lists_every_key() -> None:
    written = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = [
        f"| `{path}` | {key.allowed} | `{json.dumps(key.info.default, ensure_ascii=False)}` | {key.info.description} |"
        for path, key in leaves()
    ]
    table, _, _ = written.partition("## Rate limits")
    assert [line for line in table.splitlines() if line.startswith("| `")] == rows


def test_the_documentation_lists_every_rate_limit() -> None:
    written = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
    _, _, section = written.partition("## Rate limits")
    rows = [f"| `{name}` | {rate} |" for name, rate in CONTRACT.rate_limits.defaults.items()]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows
