"""A wrong key or value stops the program before its first resource, in one sentence that says what to do."""

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

SECTIONS = "namespace, createNamespace, protectData, production, priorityClasses, kubeContext, imageRepository, "
SECTIONS += "storageClass, adminName, postgres, pgbouncer, application, ingress, network, migration, rotation, casino"
POSTGRES = "major, flavour, storage, existingClaim, cpu, cpuLimit, memory, settings, tls, tlsSecret"
LINES = "names and values of postgresql.conf, such as {work_mem: 8MB}"
ORIGINS = "exact origins such as https://panel.example.org, with commas between them, or ''"
LIMITS = "on, off, or limits such as payments=60/minute,logins=9/hour, from 1 to 999999 a second, minute, hour or day"
LIMITS += " (names: registrations, logins, payments, charges, vendors, polls, spins, seeds)"
PINNED = "an image with a digest, such as registry.example/pgbouncer@sha256:…, or ''"
NUMBER = "a whole number from 1 to 64"
ROTATION = "a whole number from 1 to 1000000"
DATE = "a date such as 2026-11-22, or ''"
MEMORY = "a size of at least 512Mi, such as 1Gi"
FEW = "postgres.memory is 1Gi: that allows 170 connections"
OBJECT = "the name of an object in the cluster (a-z, 0-9, '-' and '.'), or ''"
HOST = "a host name such as bank.example.org, or ''"
DNS = "a DNS label: 1 to 63 of a-z, 0-9 and '-'"

REFUSED: list[tuple[str, Any, str]] = [
    ("namespace", "", f'namespace is "": it takes {DNS}.'),
    ("namespace", "Neo_Tropolis", f'namespace is "Neo_Tropolis": it takes {DNS}.'),
    ("namespace", "-a", f'namespace is "-a": it takes {DNS}.'),
    ("namespace", "a" * 64, f'namespace is "{"a" * 64}": it takes {DNS}.'),
    ("createNamespace", "yes", 'createNamespace is "yes": it takes true or false.'),
    ("createNamespace", "1", "createNamespace is 1: it takes true or false."),
    ("protectData", "", 'protectData is "": it takes true or false.'),
    (
        "kubeContext",
        "two words",
        "kubeContext is \"two words\": it takes the name of a context in the kubeconfig, or '' for the current one.",
    ),
    (
        "imageRepository",
        "neobank:1.0@x",
        'imageRepository is "neobank:1.0@x": it takes an image name without a tag, such as registry.example/neobank.',
    ),
    (
        "imageRepository",
        "",
        'imageRepository is "": it takes an image name without a tag, such as registry.example/neobank.',
    ),
    ("storageClass", "Fast Disk", f'storageClass is "Fast Disk": it takes {OBJECT}.'),
    ("adminName", "", 'adminName is "": it takes a name of 1 to 100 visible characters.'),
    ("adminName", " x", 'adminName is " x": it takes a name of 1 to 100 visible characters.'),
    ("adminName", "x\ny", 'adminName is "x\\ny": it takes a name of 1 to 100 visible characters.'),
    ("adminName", "x\u200by", 'adminName is "x\u200by": it takes a name of 1 to 100 visible characters.'),
    (
        "postgres",
        "16",
        f"postgres is 16: it takes an object with the keys {POSTGRES}.",
    ),
    (
        "postgres",
        [],
        f"postgres is []: it takes an object with the keys {POSTGRES}.",
    ),
    ("postgres", {"major": 15}, "postgres.major is 15: it takes 16, 17 or 18."),
    ("postgres", {"major": "16"}, 'postgres.major is "16": it takes 16, 17 or 18.'),
    ("postgres", {"major": None}, "postgres.major is null: it takes 16, 17 or 18."),
    ("postgres", {"flavour": "slim"}, 'postgres.flavour is "slim": it takes alpine or debian.'),
    ("postgres", {"storage": "10GB"}, 'postgres.storage is "10GB": it takes a size of at least 1Gi, such as 10Gi.'),
    ("postgres", {"storage": "500Mi"}, 'postgres.storage is "500Mi": it takes a size of at least 1Gi, such as 10Gi.'),
    ("postgres", {"storage": 10}, "postgres.storage is 10: it takes a size of at least 1Gi, such as 10Gi."),
    ("postgres", {"existingClaim": "a/b"}, f'postgres.existingClaim is "a/b": it takes {OBJECT}.'),
    ("postgres", {"cpu": "0"}, 'postgres.cpu is "0": it takes CPUs such as 250m or 2.'),
    ("postgres", {"cpu": "1.5"}, 'postgres.cpu is "1.5": it takes CPUs such as 250m or 2.'),
    ("postgres", {"memory": "511Mi"}, f'postgres.memory is "511Mi": it takes {MEMORY}.'),
    ("postgres", {"memory": "1G"}, f'postgres.memory is "1G": it takes {MEMORY}.'),
    ("postgres", {"settings": ["work_mem"]}, f'postgres.settings is ["work_mem"]: it takes {LINES}.'),
    (
        "postgres",
        {"settings": {"work_mem": "8MB'\nfsync = 'off"}},
        f'postgres.settings is {{"work_mem": "8MB\'\\nfsync = \'off"}}: it takes {LINES}.',
    ),
    (
        "postgres",
        {"settings": {"include 'x'": "a"}},
        f'postgres.settings is {{"include \'x\'": "a"}}: it takes {LINES}.',
    ),
    ("postgres", {"settings": {"jit": None}}, f'postgres.settings is {{"jit": null}}: it takes {LINES}.'),
    ("postgres", {"tls": "verify-full"}, 'postgres.tls is "verify-full": it takes true or false.'),
    ("postgres", {"tlsSecret": "My Secret"}, f'postgres.tlsSecret is "My Secret": it takes {OBJECT}.'),
    (
        "postgres",
        {"majour": 16},
        f"postgres.majour is not a key: the keys are {POSTGRES}.",
    ),
    (
        "application",
        {"rateLimits": "payments=often"},
        f'application.rateLimits is "payments=often": it takes {LIMITS}.',
    ),
    ("application", {"corsOrigins": "*"}, f'application.corsOrigins is "*": it takes {ORIGINS}.'),
    (
        "application",
        {"corsOrigins": "https://a,https://a..b"},
        f'application.corsOrigins is "https://a,https://a..b", in which "https://a..b" is invalid: it takes {ORIGINS}.',
    ),
    ("application", {"replicas": 0}, f"application.replicas is 0: it takes {NUMBER}."),
    ("application", {"replicas": 65}, f"application.replicas is 65: it takes {NUMBER}."),
    ("application", {"replicas": True}, f"application.replicas is true: it takes {NUMBER}."),
    ("application", {"replicas": 1.5}, f"application.replicas is 1.5: it takes {NUMBER}."),
    ("application", {"workers": "2"}, f'application.workers is "2": it takes {NUMBER}.'),
    ("application", {"threads": -1}, f"application.threads is -1: it takes {NUMBER}."),
    ("application", {"cpu": 1}, "application.cpu is 1: it takes CPUs such as 250m or 2."),
    (
        "application",
        {"memory": "64Mi"},
        'application.memory is "64Mi": it takes a size of at least 256Mi, such as 512Mi.',
    ),
    ("production", "yes", 'production is "yes": it takes true or false.'),
    ("priorityClasses", "2", "priorityClasses is 2: it takes true or false."),
    ("postgres", {"cpuLimit": "all"}, 'postgres.cpuLimit is "all": it takes CPUs such as 250m or 2.'),
    ("application", {"cpuLimit": 2}, "application.cpuLimit is 2: it takes CPUs such as 250m or 2."),
    (
        "application",
        {"maxReplicas": 0},
        "application.maxReplicas is 0: it takes a whole number from 1 to 64, or null for as many as `replicas`.",
    ),
    ("application", {"targetCpu": 100}, "application.targetCpu is 100: it takes a whole number from 10 to 95."),
    ("application", {"disruptionBudget": 1}, "application.disruptionBudget is 1: it takes true or false."),
    ("pgbouncer", {"enabled": 1}, "pgbouncer.enabled is 1: it takes true or false."),
    ("pgbouncer", {"image": "pgbouncer:1.24"}, f'pgbouncer.image is "pgbouncer:1.24": it takes {PINNED}.'),
    ("pgbouncer", {"replicas": 0}, f"pgbouncer.replicas is 0: it takes {NUMBER}."),
    (
        "pgbouncer",
        {"connections": 501},
        "pgbouncer.connections is 501: it takes a whole number from 1 to 500.",
    ),
    ("ingress", {"enabled": "true"}, 'ingress.enabled is "true": it takes true or false.'),
    ("ingress", {"className": "Traefik!"}, f'ingress.className is "Traefik!": it takes {OBJECT}.'),
    ("ingress", {"host": "bank"}, f'ingress.host is "bank": it takes {HOST}.'),
    ("ingress", {"host": "https://bank.example"}, f'ingress.host is "https://bank.example": it takes {HOST}.'),
    ("ingress", {"host": "*.example.org"}, f'ingress.host is "*.example.org": it takes {HOST}.'),
    ("ingress", {"tlsSecret": "a b"}, f'ingress.tlsSecret is "a b": it takes {OBJECT}.'),
    ("ingress", {"clusterIssuer": "A"}, f'ingress.clusterIssuer is "A": it takes {OBJECT}.'),
    ("ingress", {"namespace": ""}, f'ingress.namespace is "": it takes {DNS}.'),
    ("ingress", {"trustedProxies": 0}, "ingress.trustedProxies is 0: it takes a whole number from 1 to 8."),
    ("ingress", {"wait": None}, "ingress.wait is null: it takes true or false."),
    ("network", {"policies": "on"}, 'network.policies is "on": it takes true or false.'),
    ("network", {"monitoringNamespace": "a.b"}, f'network.monitoringNamespace is "a.b": it takes {DNS}.'),
    (
        "migration",
        {"ttlSeconds": 0},
        "migration.ttlSeconds is 0: it takes seconds from 1 to 2592000 (30 days), or null for never.",
    ),
    (
        "rotation",
        {"app": {}},
        "rotation.app is not a key: the keys are owner, application, backup, metrics, tls, secretKey, admin.",
    ),
    ("rotation", {"owner": 2}, "rotation.owner is 2: it takes an object with the keys number, since."),
    ("rotation", {"owner": {"number": 0}}, f"rotation.owner.number is 0: it takes {ROTATION}."),
    ("rotation", {"admin": {"since": "22.11.2026"}}, f'rotation.admin.since is "22.11.2026": it takes {DATE}.'),
    ("rotation", {"admin": {"since": "2026-13-01"}}, f'rotation.admin.since is "2026-13-01": it takes {DATE}.'),
    ("rotation", {"metrics": {"count": 1}}, "rotation.metrics.count is not a key: the keys are number, since."),
    ("casino", {"bankroll": 0}, "casino.bankroll is 0: it takes whole ¤ from 1 to 100000000000."),
    (
        "casino",
        {"timeZone": "Berlin "},
        'casino.timeZone is "Berlin ": it takes a time zone\'s name such as Europe/Berlin.',
    ),
    (
        "casino",
        {"timeZone": "Mars/Phobos"},
        'casino.timeZone is "Mars/Phobos": it takes a time zone\'s name such as Europe/Berlin.',
    ),
    ("casino", {"bankroll": 10.5}, "casino.bankroll is 10.5: it takes whole ¤ from 1 to 100000000000."),
    ("replicas", "3", f"replicas is not a key: the keys are {SECTIONS}."),
]


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
    with pytest.raises(pulumi.RunError) as refused:
        read(config)
    first, *sentences = str(refused.value).splitlines()
    assert first == "The stack's configuration is not valid; nothing was changed."
    return sentences


@pytest.mark.parametrize(("key", "value", "sentence"), REFUSED)
def test_a_wrong_value_is_refused_by_name(key: str, value: object, sentence: str) -> None:
    assert refusal({key: value}) == [sentence]


@pytest.mark.parametrize("text", VALID_RATE_LIMITS)
def test_valid_rate_limits_reach_the_service_as_they_are_written(text: str) -> None:
    assert read({"application": {"rateLimits": text}}).application.rate_limits == text


@pytest.mark.parametrize(("text", "wrong"), INVALID_RATE_LIMITS)
def test_invalid_rate_limits_are_refused_and_the_wrong_item_is_named(text: str, wrong: str) -> None:
    item = f', in which "{wrong}" is invalid' if wrong else ""
    assert refusal({"application": {"rateLimits": text}}) == [
        f'application.rateLimits is "{text}"{item}: it takes {LIMITS}.'
    ]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"application": {"replicas": 3, "maxReplicas": 2}}, "application.maxReplicas is 2: that is less than"),
        (
            {"application": {"replicas": 1, "disruptionBudget": True}},
            "application.disruptionBudget is true: with one pod",
        ),
        ({"ingress": {"enabled": True}}, 'ingress.host is "": an Ingress needs'),
        (
            {"ingress": {"host": "bank.example.org", "tlsSecret": "a", "clusterIssuer": "b"}},
            "ingress.tlsSecret and ingress.clusterIssuer are both set",
        ),
        ({"postgres": {"tlsSecret": "own"}}, 'postgres.tlsSecret is "own": it is used only if postgres.tls is true.'),
        ({"postgres": {"settings": {"ssl": False}}}, "postgres.settings.ssl is set by the program, as are access"),
        ({"postgres": {"settings": {"fsync": False}}}, "postgres.settings.fsync is set by the program, as are"),
        (
            {"postgres": {"settings": {"max_connections": 900}}},
            "postgres.settings.max_connections is set by the program",
        ),
        (
            {"application": {"replicas": 2, "maxReplicas": 9}},
            f"{FEW}, but the bank's threads, with the extra pod of a rollout, and other clients need 176: raise it",
        ),
        (
            {"pgbouncer": {"enabled": True, "image": DIGEST_IMAGE, "replicas": 4, "connections": 40}},
            f"{FEW}, but PgBouncer, with the extra pod of a rollout, and other clients need 216: raise it, or lower",
        ),
        ({"pgbouncer": {"enabled": True}}, 'pgbouncer.image is "": set one with `pgbouncer` on its PATH'),
        (
            {"postgres": {"settings": {"shared_buffers": "769MB"}}},
            "postgres.settings.shared_buffers is 769MB: with /dev/shm (256Mi) that is more than postgres.memory, which",
        ),
        (
            {"application": {"maxReplicas": 4, "cpu": "0"}},
            'application.cpu is "0": it takes CPUs',  # against which an autoscaler measures
        ),
        ({"ingress": {"tlsSecret": "a"}}, 'ingress.host is "": a certificate (ingress.tlsSecret, '),
        ({"ingress": {"clusterIssuer": "a"}}, 'ingress.host is "": a certificate (ingress.tlsSecret, '),
        ({"application": {"cpu": "2500m"}}, "application.cpu is 2500m: that is more than application.cpuLimit, which"),
        ({"postgres": {"cpu": "3", "cpuLimit": "2999m"}}, "postgres.cpu is 3: that is more than postgres.cpuLimit"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(config: Config, sentence: str) -> None:
    [said] = refusal(config)
    assert said.startswith(sentence)


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
        ({"ingress": {"clusterIssuer": ""}}, "ingress.tlsSecret"),
    ],
)
def test_production_refuses_what_no_event_should_run_on(change: Config, named: str) -> None:
    assert named in [sentence.split(":")[0] for sentence in refusal(merged(PROD, change))]
    read({**merged(PROD, change), "production": False})


def test_more_memory_is_no_remedy_where_there_are_connections_enough() -> None:
    [said] = refusal({"postgres": {"memory": "8Gi"}, "application": {"replicas": 64}})
    assert "that allows 500 connections" in said
    assert said.endswith("other clients need 1056: set pgbouncer.enabled.")


def test_more_threads_than_connections_are_fine_behind_pgbouncer() -> None:
    crowd = {"application": {"replicas": 20, "workers": 4, "threads": 16}}
    [said] = refusal(crowd)
    assert said.startswith(FEW)
    assert read({**crowd, "pgbouncer": {"enabled": True, "image": DIGEST_IMAGE}}).connections() == 76


def test_the_committed_prod_stack_asks_for_what_only_an_event_knows() -> None:
    assert [sentence.split(" ")[0].removesuffix(":") for sentence in refusal(stack_file("prod"))] == [
        "ingress.host",
        "kubeContext",
    ]
    read(PROD)


def test_production_takes_no_image_without_a_digest() -> None:
    recorder = Recorder(FakeProviders())
    with pytest.raises(pulumi.RunError, match=r"neobank:0123456789abcdef has no digest"):
        run(PROD, recorder=recorder)
    assert [it.type for it in recorder.registered] == ["pulumi:pulumi:Stack"]


def test_every_key_has_a_wrong_value_in_the_table() -> None:
    named = {sentence.split(" is ")[0] for _, _, sentence in REFUSED}
    shared = {
        f"rotation.{secret}" for secret in ("owner", "application", "backup", "metrics", "tls", "secretKey", "admin")
    }
    generic = {f"{secret}.{field}" for secret in shared for field in ("number", "since")}
    assert {path for path, _ in leaves()} - generic <= named
    assert {"rotation.owner.number", "rotation.admin.since"} <= named


def sections(section: type[BaseModel] = Settings, above: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Give every nested object, with the path to it."""
    yield above, section
    for name, key in keys(section).items():
        if key.section:
            yield from sections(key.section, f"{above}{name}.")


@pytest.mark.parametrize(("above", "section"), list(sections()))
def test_an_unknown_key_is_refused_at_every_depth(above: str, section: type[BaseModel]) -> None:
    assert refusal(nested(f"{above}typo", 1)) == [f"{above}typo is not a key: the keys are {', '.join(keys(section))}."]


@pytest.mark.parametrize("path", ["adminPassword", "postgres.password", "rotation.secret", "ingress.apiToken"])
def test_a_secret_in_plain_is_refused_and_not_repeated(path: str) -> None:
    [said] = refusal(nested(path, "hunter2"))
    assert said == f"{path} is not a key: secrets are generated; raise a number under rotation to replace one."


TYPED = [(path, key) for path, key in leaves() if "." in path or key.info.annotation is not str]
"""The engine hands over a text of the outer level as it is, and checks by Pulumi.yaml that it is one."""


@pytest.mark.parametrize(("path", "key"), TYPED)
def test_a_key_of_another_type_is_refused_and_its_sentence_says_what_it_takes(path: str, key: Key) -> None:
    assert refusal(nested(path, {"a": []})) == [f'{path} is {{"a": []}}: it takes {key.allowed}.']
    assert key.info.description
    assert key.info.description.endswith(".")
    assert not key.info.is_required()


def test_all_errors_are_said_at_once() -> None:
    wrong = {"namespace": "A", "postgres": {"major": 15, "x": 1}, "casino": {"bankroll": 0}, "unknown": "1"}
    assert len(refusal(wrong)) == 5


def test_a_secret_value_is_not_repeated() -> None:
    with pytest.raises(pulumi.RunError) as refused:
        Settings.read({"adminName": " hunter2", "password": "hunter2"}, hidden={"adminName"})
    assert "hunter2" not in str(refused.value)
    assert "adminName is a secret: it takes" in str(refused.value)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"postgres": {"major": 15}}, "postgres.major is 15"),
        ({"application": {"rateLimits": "payment=60/minute"}}, 'application.rateLimits is "payment=60/minute"'),
    ],
)
def test_nothing_is_registered_where_the_configuration_is_wrong(config: Config, sentence: str) -> None:
    recorder = Recorder(FakeProviders())
    with pytest.raises(pulumi.RunError, match=re.escape(sentence)):
        run(config, recorder=recorder)
    assert [it.type for it in recorder.registered] == ["pulumi:pulumi:Stack"]


def test_an_image_that_does_not_say_what_it_holds_is_refused() -> None:
    recorder = Recorder(FakeProviders())
    with pytest.raises(pulumi.RunError, match="NEOBANK_IMAGE is 'neobank:latest'"):
        run(stack_file("dev"), image="neobank:latest", recorder=recorder)
    assert [it.type for it in recorder.registered] == ["pulumi:pulumi:Stack"]


def test_a_date_may_stand_without_quotes() -> None:
    """The engine's YAML reader turns such a date into a time."""
    settings = read({"rotation": {"owner": {"number": 2, "since": "2026-11-22 00:00:00 +0000 UTC"}}})
    assert settings.rotation.owner.since == "2026-11-22"


def test_text_that_looks_like_something_else_stays_text() -> None:
    assert read({"adminName": "true", "namespace": "0123"}).admin_name == "true"


def test_an_empty_stack_has_sensible_defaults() -> None:
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


def test_the_engine_finds_the_program_and_its_packages() -> None:
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
