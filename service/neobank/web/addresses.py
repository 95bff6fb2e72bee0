"""Where a request comes from. A header can say anything: only as many proxies are believed as the settings say."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix


def trust_proxies(app: Flask, proxies: int) -> None:
    """Believe the last `proxies` entries of X-Forwarded-For, and the scheme that the nearest names; with 0, none.

    One entry of X-Forwarded-Proto: proxies behind one another replace it, or leave it out but for the first.
    """
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=1)  # type: ignore[method-assign]


def client_network() -> str:
    """Name the network that counts as one client: an IPv4 address, or the /64 that one IPv6 client has to itself.

    Where the believed entry is no address (an opening quote in a forged header swallows what the proxy appends), it is
    the peer that connected.
    """
    connected = request.environ.get("werkzeug.proxy_fix.orig", {}).get("REMOTE_ADDR")
    for address in (request.remote_addr, connected):
        with suppress(ValueError):
            return _network(ip_address(address or ""))
    return "unknown"


def _network(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))
