"""The record on ``sessions``: who a site knows, what opened it for him, and who is solving for him now.

Keyed by site and identity, on the site's partition, compacted: the last one counts, none means that nothing
is known. It holds cookies that let anybody in who has them, as ``captcha-solutions`` does.
"""

import msgspec

from tidegate.captcha_records import Cookie
from tidegate.records import VERSION


class Solving(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge that is being solved: nobody else buys for it for ``left_s`` seconds (M7).

    ``group`` is what one solve opens: a clearance's kind, or ``token`` for all others. ``run`` and ``job``
    name the job whose request it is.
    """

    group: str
    run: str
    job: str
    left_s: float


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One visitor of one site.

    ``passed`` are the groups of challenges that its cookies opened; ``cookies`` are good for who has the same
    ``user_agent`` (None: the identity's own), the same proxy and the same ``tls_profile`` only. ``left_s``
    seconds after this record's append time it is forgotten, in use or not (T1).
    """

    version: int = VERSION
    site: str
    identity: str
    user_agent: str | None = None
    proxy_id: str | None = None
    tls_profile: str = ""
    cookies: tuple[Cookie, ...] = ()
    passed: tuple[str, ...] = ()
    left_s: float = 0.0
    solving: tuple[Solving, ...] = ()


def session_key(site: str, identity: str) -> bytes:
    """Return the key of a visitor's record; no site and no identity has a blank in it."""
    return f"{site} {identity}".encode()
