"""Which cluster a stack belongs to: the uid of the namespace `kube-system`, which lives as long as its cluster.

This module uses only the standard library, so that `make` can use it before it starts the engine.
"""

NAMESPACE = "kube-system"
RECORD = "cluster-identity"
"""The resource of the state that keeps the uid which the stack met first."""

FORGET = ("stack", "rm", "--force", "--preserve-config")
"""The command of the engine that forgets a cluster which no longer exists."""


class WrongClusterError(ValueError):
    """The kubeconfig leads to another cluster than the stack's; the message ends before the command FORGET."""


def require_same(stack: str, recorded: str, live: str) -> None:
    """Raise WrongClusterError if the live cluster is not the recorded one."""
    if live != recorded:
        raise WrongClusterError(
            f"stack {stack} belongs to the cluster whose namespace {NAMESPACE} has the uid {recorded}, and the "
            f"kubeconfig leads to the one with {live}: set KUBECONFIG or kubeContext to the stack's cluster, use "
            "another stack, or, if that cluster no longer exists, forget it with"
        )
