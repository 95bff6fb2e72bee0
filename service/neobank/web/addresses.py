"""The client's address. X-Forwarded-For can contain anything, so only the configured number of proxies is trusted."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix


def trust_proxies(app: Flask, proxies: int) -> None:
    """Trust the last `proxies` entries of X-Forwarded-For and the last entry of X-Forwarded-Proto; with 0, neither.

    X-Forwarded-Proto has one entry however many proxies there are: each replaces it, or only the first one sets it.
    """
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=1)  # type: ignore[method-assign]


def client_network() -> str:
    """Return the network that counts as one client: an IPv4 address, or the /64 network of an IPv6 address.

    The trusted entry may be invalid: an opening quote in a forged header hides what the proxy appends. In that case
    return the network of the connected peer.
    """
    peer = request.environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR")
    for address in (request.remote_addr, peer):
        with suppress(ValueError):
            return _network(ip_address(address or ""))
    return "unknown"


def _network(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))
