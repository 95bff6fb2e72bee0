"""The local Kubernetes cluster: kind where a container engine runs, otherwise a node of our own."""
