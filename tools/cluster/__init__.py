"""The local Kubernetes cluster: kind if a container engine runs, otherwise the built-in node (`node.py`)."""
