"""Skip marks for tests that only our own node can run."""

import pytest

from tools.cluster import node

NODE_NETWORK = pytest.mark.skipif(
    not node.exists(), reason="only our own node has a network that processes of this machine can enter"
)
NODE_PROCESSES = pytest.mark.skipif(
    not node.exists(), reason="only on our own node can a pod's processes be killed from outside"
)
