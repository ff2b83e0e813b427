"""Hosts as rules name them. Pure."""

from yarl import URL

DEFAULT_PORTS = {"http": 80, "https": 443}


def host_of(url: URL) -> str:
    """Return the host in lower case, an IPv6 address in brackets."""
    host = (url.raw_host or "").lower().rstrip(".")
    return f"[{host}]" if ":" in host else host


def host_with_port(url: URL) -> str:
    """Return the host as a rule names it, with the port where it is not the scheme's own."""
    host = host_of(url)
    return host if url.port == DEFAULT_PORTS.get(url.scheme) else f"{host}:{url.port}"
