"""The HTTP server for Prometheus, on a separate port that no Ingress routes to."""

import signal

from prometheus_client import CollectorRegistry, start_http_server

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Raise OSError if the port is not available."""
    # A blocked signal waits for sigwait, even in process 1, for which the kernel drops signals without a handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    server, thread = start_http_server(port, host, registry)
    signal.sigwait(_STOP_SIGNALS)
    server.shutdown()
    server.server_close()
    thread.join()
