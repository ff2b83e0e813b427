"""Cookies as values: parsed from Set-Cookie, kept in tuples, chosen for a URL. Pure.

The rules are RFC 6265's as browsers apply them. There is no list of public suffixes: a cookie for a
single label such as ``com`` is refused, one for ``co.uk`` is not; a session is one site's, so that such a
cookie meets no other site than those that this one's redirects lead to.
"""

from collections.abc import Collection, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from tidegate.captcha_records import Cookie
from yarl import URL

from tidegate_fetcher.field_values import is_sendable

MAX_COOKIES = 100
MAX_COOKIE_CHARACTERS = 4096
# Of a session; most servers take no longer Cookie header, and memory is bounded by it.
MAX_JAR_CHARACTERS = 16_384

Jar = tuple[Cookie, ...]


def stored(jar: Jar, url: URL, set_cookies: list[str], now_ms: int) -> Jar:
    """Return the jar after a response from ``url`` with these Set-Cookie headers.

    A cookie replaces its namesake of the same domain and path; an expired one removes it. The oldest
    go first beyond MAX_COOKIES.
    """
    if not set_cookies:
        return jar
    kept = {(c.name, c.domain, c.path): c for c in jar}
    for header in set_cookies:
        cookie = parse(header, url, now_ms)
        if cookie is None:
            continue
        kept.pop((cookie.name, cookie.domain, cookie.path), None)
        if cookie.expires_at_ms is None or cookie.expires_at_ms > now_ms:
            kept[cookie.name, cookie.domain, cookie.path] = cookie
    return tuple(kept.values())[-MAX_COOKIES:]


def given(header: str, url: URL) -> Jar:
    """Return the cookies of a job's own Cookie header: session cookies of the job's host, at any port.

    Those of an https job are secure: a redirect to http does not carry them out in clear.
    """
    host, secure = _host(url), url.scheme == "https"
    found = []
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if not equals:
            name, value = "", name
        if value or name:
            found.append(Cookie(name=name.strip(), value=value.strip(), domain=host, secure=secure))
    return tuple(found[-MAX_COOKIES:])


def by_name(jar: Jar) -> dict[str, str]:
    """Return the values of a jar by name; of several namesakes the latest."""
    return {cookie.name: cookie.value for cookie in jar}


def merged(jar: Jar, sent: Jar, got: Jar) -> Jar:
    """Return a jar with what one exchange changed: ``sent`` went out, ``got`` is what there was after it.

    Another exchange may have changed the jar meanwhile; what that one set stays. Kept are the newest that
    have ``MAX_JAR_CHARACTERS`` together.
    """
    if got == sent:
        return jar
    left = {(c.name, c.domain, c.path) for c in got}
    gone = {key for c in sent if (key := (c.name, c.domain, c.path)) not in left}
    kept = {key: c for c in jar if (key := (c.name, c.domain, c.path)) not in gone}
    for cookie in got:
        if cookie not in sent:
            kept.pop((cookie.name, cookie.domain, cookie.path), None)
            kept[cookie.name, cookie.domain, cookie.path] = cookie
    return bounded(tuple(kept.values()))


def joined(known: Jar, new: Jar, clearance: Collection[str]) -> Jar:
    """Return the jar of a visitor whom a site let in twice: with ``new`` cookies beside those it ``known``.

    Who solves for a clearance may have come as nobody, and was given a visitor's cookies of his own. They
    must not replace those to which a token opened the site; only the ``clearance`` itself is new then.
    Without one it was a token, and its cookies are the ones that count.
    """
    if not clearance:
        return merged(known, (), new)
    taken = {cookie.name for cookie in known}.difference(clearance)
    return bounded((*without(known, clearance), *(cookie for cookie in new if cookie.name not in taken)))


def bounded(jar: Jar) -> Jar:
    """Return the newest cookies of a jar that are kept for later."""
    left = MAX_JAR_CHARACTERS
    for number, cookie in enumerate(reversed(jar)):
        left -= len(cookie.name) + len(cookie.value) + len(cookie.domain) + len(cookie.path)
        if left < 0:
            return jar[len(jar) - number :]
    return jar[-MAX_COOKIES:]


def without(jar: Jar, names: Collection[str]) -> Jar:
    """Return a jar without the cookies of those names."""
    return tuple(cookie for cookie in jar if cookie.name not in names)


def cleared(jar: Jar, url: URL, values: Mapping[str, str]) -> Jar:
    """Return a jar with the cookies of a clearance: the host's, in place of any of that name.

    They hold for the whole host, of an https page by https only; what else the site sets meanwhile is kept.
    """
    kept = tuple(cookie for cookie in jar if cookie.name not in values)
    host, secure = _host(url), url.scheme == "https"
    added = tuple(
        Cookie(name=name, value=value, domain=host, secure=secure) for name, value in values.items()
    )
    return (*kept, *added)[-MAX_COOKIES:]


def header_for(jar: Jar, url: URL, now_ms: int) -> str | None:
    """Return the Cookie header for a request, longest paths first; None where no cookie fits."""
    if not jar:
        return None
    host, path, secure = _host(url), url.raw_path or "/", url.scheme == "https"
    fitting = [
        cookie
        for cookie in jar
        if (cookie.domain == host if cookie.host_only else _domain_matches(host, cookie.domain))
        and _path_matches(path, cookie.path)
        and (secure or not cookie.secure)
        and (cookie.expires_at_ms is None or cookie.expires_at_ms > now_ms)
    ]
    if not fitting:
        return None
    fitting.sort(key=lambda cookie: -len(cookie.path))
    return "; ".join(f"{c.name}={c.value}" if c.name else c.value for c in fitting)


def parse(header: str, url: URL, now_ms: int) -> Cookie | None:
    """Read one Set-Cookie header; None where a browser would ignore it."""
    if len(header) > MAX_COOKIE_CHARACTERS or not is_sendable(header):
        return None
    pair, _, rest = header.partition(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", pair
    name, value = name.strip(), value.strip()
    if not name and not value:
        return None
    attributes: dict[str, str] = {}
    for part in rest.split(";"):
        key, _, text = part.partition("=")
        attributes[key.strip().lower()] = text.strip()
    host = _host(url)
    domain = attributes.get("domain", "").lstrip(".").rstrip(".").lower()
    host_only = not domain
    if domain and not _may_set(host, domain):
        return None
    if domain and (_is_ip(host) or "." not in domain):
        host_only = True
    path = attributes.get("path", "")
    secure = "secure" in attributes
    if secure and url.scheme != "https":
        return None
    return Cookie(
        name=name,
        value=value,
        domain=domain or host,
        path=path if path.startswith("/") else _default_path(url),
        secure=secure,
        host_only=host_only,
        expires_at_ms=_expiry(attributes, now_ms),
    )


def _host(url: URL) -> str:
    return (url.raw_host or "").lower().rstrip(".")


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _may_set(host: str, domain: str) -> bool:
    return domain == host or ("." in domain and _domain_matches(host, domain))


def _domain_matches(host: str, domain: str) -> bool:
    return host == domain or (host.endswith(f".{domain}") and not _is_ip(host))


def _path_matches(path: str, cookie_path: str) -> bool:
    if not path.startswith(cookie_path):
        return False
    return len(path) == len(cookie_path) or cookie_path.endswith("/") or path[len(cookie_path)] == "/"


def _default_path(url: URL) -> str:
    path = url.raw_path or "/"
    return path[: path.rindex("/")] or "/" if path.startswith("/") else "/"


def _expiry(attributes: dict[str, str], now_ms: int) -> int | None:
    """Return when a cookie ends, in epoch milliseconds; Max-Age is stronger than Expires."""
    age = attributes.get("max-age", "")
    if age and (age.isdigit() or (age[0] == "-" and age[1:].isdigit())) and age.isascii():
        return now_ms + max(0, int(age[:12])) * 1000 if age[0] != "-" else now_ms
    expires = attributes.get("expires")
    if not expires:
        return None
    try:
        moment = parsedate_to_datetime(expires.replace("-", " "))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
