"""Serving metrics to Prometheus, on a port of their own that no ingress leads to."""

import signal

from prometheus_client import CollectorRegistry, start_http_server

_ENDINGS = (signal.SIGINT, signal.SIGTERM)


def serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve until the process is told to end. Raises OSError where the port can't be had."""
    # Blocked, a signal waits for sigwait even in process 1, for which the kernel drops what has no handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    server, thread = start_http_server(port, host, registry)
    signal.sigwait(_ENDINGS)
    server.shutdown()
    server.server_close()
    thread.join()
