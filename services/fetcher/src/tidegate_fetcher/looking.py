"""Asks for a page and looks what stands in its place, its picture included where that is one of text."""

import asyncio

import msgspec
from tidegate.captcha_records import Challenge
from yarl import URL

from tidegate_fetcher import cookies, images
from tidegate_fetcher.client import HttpClient
from tidegate_fetcher.detection import Detector, lacking
from tidegate_fetcher.exchange import NetworkFailedError, RefusedError, Request, Response
from tidegate_fetcher.policy import Policy
from tidegate_fetcher.site_policies import SitePolicies

# A few kilobytes; the handler's deadline is for the page, and for what comes back after a solution.
_PICTURE_S = 10.0
_ACCEPT = "image/*,*/*;q=0.8"


class Looker:
    """Answers with ``found``: a challenge has all that a solving service needs of it, if that can be had."""

    def __init__(
        self, client: HttpClient, detector: Detector, policy: Policy, policies: SitePolicies
    ) -> None:
        self.client = client
        self._detector = detector
        self._policy = policy
        self._policies = policies

    async def ask(self, request: Request) -> Response:
        """Return the answer with what was found to stand in the page's place. Raises ExchangeError."""
        response = await self.client.send(request)
        found = self._detector.find(
            response.body,
            status=response.status,
            headers=response.headers,
            url=response.url,
            cookies=cookies.by_name(response.jar),
            image=self._policies.image_at(response.url),
        )
        response = msgspec.structs.replace(response, found=found)
        if not isinstance(found, Challenge) or "image_url" not in found.params or not lacking(found):
            return response
        # Nobody buys it there: neither site nor anybody else is asked for what is of no use.
        if self._policy.solve_refusal(response.url) is not None:
            return response
        return await self._with_picture(request, response, found)

    async def _with_picture(self, request: Request, response: Response, found: Challenge) -> Response:
        """Fetch the picture that the page shows, as who asked for the page, in the same turn of the site's.

        It may be shown to a session once, and set its cookie. Where it is none, or may not be asked for, the
        challenge stays without it and is not bought.
        """
        try:
            async with asyncio.timeout(_PICTURE_S):
                picture = await self.client.send(
                    _for_picture(request, response, URL(found.params["image_url"]))
                )
        except RefusedError:
            return response
        except TimeoutError as error:
            sentence = f"The page's picture took longer than {_PICTURE_S:g} s."
            raise NetworkFailedError(sentence, url=response.url) from error
        whole = images.with_picture(found, picture.body) if picture.status == 200 else None
        return msgspec.structs.replace(response, jar=picture.jar, found=whole or found)


def _for_picture(request: Request, response: Response, url: URL) -> Request:
    """Return the request for a page's picture: what is for the page's origin only goes to no other."""
    headers = {"User-Agent": request.headers["User-Agent"], "Accept": _ACCEPT}
    same_origin = url.origin() == response.url.origin()
    if same_origin:
        headers["Referer"] = str(response.url.with_user(None).with_fragment(None))
    return Request(
        url=url,
        headers=headers,
        private=request.private if same_origin and url.origin() == request.url.origin() else {},
        jar=response.jar,
        proxy=request.proxy,
        proxy_id=request.proxy_id,
        most_bytes=images.MAX_IMAGE_BYTES,
    )
