"""The rules as a policy pack: `pulumi preview --policy-pack policy` rejects a stack that violates one."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_policy import (  # type: ignore[import-not-found]  # only in the pack's own environment
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError  # type: ignore[import-not-found]

from hardening import RULES, STACK_RULES, Resource, Rule, StackRule

UNKNOWN = "known after the update"


def known(value: Any) -> Any:  # noqa: ANN401  # a JSON document
    """Copy a document without the values that a preview does not know: the engine skips a rule that reads one."""
    if isinstance(value, Mapping):
        return {key: known_item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [known_item(value, index) for index in range(len(value))]
    return value


def known_item(value: Any, key: str | int) -> Any:  # noqa: ANN401
    """Copy one item of a document, or return UNKNOWN."""
    try:
        return known(value[key])
    except UnknownValueError:
        return UNKNOWN


def resource_of(args: Any) -> Resource:  # noqa: ANN401  # of a resource policy or of a stack policy
    """Convert a resource of the engine to the type that the rules use."""
    return Resource(args.resource_type, args.name, known(args.props))


def applies(rule: Rule | StackRule) -> bool:
    """Whether a rule applies to this stack."""
    return not rule.in_production_only or bool(pulumi.Config("neobank").get_bool("production"))


def of_a_resource(rule: Rule) -> ResourceValidationPolicy:
    """Convert a rule to a policy."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if applies(rule):
            for sentence in rule.check(resource_of(args)):
                report(sentence)

    return ResourceValidationPolicy(name=rule.name, description=rule.description, validate=validate)


def of_the_stack(rule: StackRule) -> StackValidationPolicy:
    """Convert a rule for all resources together to a policy."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        if applies(rule):
            for sentence in rule.check([resource_of(it) for it in args.resources]):
                report(sentence)

    return StackValidationPolicy(name=rule.name, description=rule.description, validate=validate)


PolicyPack(
    name="neobank",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[*map(of_a_resource, RULES), *map(of_the_stack, STACK_RULES)],
)
