"""The site's side of a verification: shows a token to the vendor, once."""

from collections.abc import Mapping

import aiohttp
import msgspec

from tidegate_cli.demo_site.challenges import ACTION, INVISIBLE

_TIMEOUT = aiohttp.ClientTimeout(total=10.0)


class VerificationDownError(Exception):
    """The vendor could not be asked, or did not answer sensibly."""


class _Verdict(msgspec.Struct):
    success: bool
    error_codes: tuple[str, ...] = msgspec.field(default=(), name="error-codes")
    action: str = ""


_decoder = msgspec.json.Decoder(_Verdict)


class Verifier:
    """Asks the ``siteverify`` of a solving simulator, as a site asks the vendor's."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, keys: Mapping[str, str]) -> None:
        self._session = session
        self._url = base_url.rstrip("/") + "/siteverify"
        self._keys = keys

    async def error_of(self, look: str, token: str, host: str, *, address: str = "", agent: str = "") -> str:
        """Return an empty string for a good token, otherwise the vendor's error code.

        ``look`` is that of the Protection: a token made for the invisible widget is good for that alone.
        ``address`` and ``agent`` are those of the visitor who shows a clearance.
        Raises VerificationDownError where there is no verdict.
        """
        form = {"secret": f"demo-{look}", "response": token, "sitekey": self._keys[look], "host": host}
        # A vendor knows of a key which widget it is for; the simulator has to be told.
        form |= {"remoteip": address, "agent": agent, "invisible": "true" if look == INVISIBLE else "false"}
        try:
            async with self._session.post(self._url, data=form, timeout=_TIMEOUT) as response:
                verdict = _decoder.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise VerificationDownError(str(error)) from error
        if not verdict.success:
            return verdict.error_codes[0] if verdict.error_codes else "refused"
        # Not every vendor passes the action on; one that did must have passed on the right one.
        return "action-mismatch" if verdict.action not in ("", ACTION) else ""
