"""A visitor with nothing but the standard library: fetches, reads forms, submits them."""

import time
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPMessage
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from support.demo_processes import post_json

TASK_TYPES = {
    "g-recaptcha": ("g-recaptcha-response", "RecaptchaV2TaskProxyless"),
    "h-captcha": ("h-captcha-response", "HCaptchaTaskProxyless"),
    "cf-turnstile": ("cf-turnstile-response", "TurnstileTaskProxyless"),
}


class Reply(NamedTuple):
    """An answer of the site."""

    status: int
    headers: HTTPMessage
    body: bytes


class Form(NamedTuple):
    """The form around a widget: where it goes, what it holds, and which widget."""

    url: str
    fields: dict[str, str]
    widget: str
    sitekey: str


class _FormReader(HTMLParser):
    """Finds the form that holds a widget."""

    def __init__(self) -> None:
        super().__init__()
        self.form: tuple[str, dict[str, str], str, str] | None = None
        self._action = ""
        self._fields: dict[str, str] = {}
        self._widget: tuple[str, str] | None = None
        self._textarea: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name = values.get("name") or ""
        if tag == "form":
            self._action, self._fields, self._widget = values.get("action") or "", {}, None
        elif tag == "input" and values.get("type") == "hidden":
            self._fields[name] = values.get("value") or ""
        elif tag == "textarea":
            self._textarea = name
            self._fields[name] = ""
        elif values.get("class") in TASK_TYPES:
            self._widget = (values["class"] or "", values.get("data-sitekey") or "")

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._fields[self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = None
        elif tag == "form" and self._widget is not None:
            self.form = (self._action, self._fields, *self._widget)


class Visitor:
    """One visitor with his own cookies, sending exactly what he is told to."""

    def __init__(self, base: str, simulator: str, user_agent: str = "visitor/1") -> None:
        self.base = base
        self.simulator = simulator
        self.user_agent = user_agent
        self.cookies: dict[str, str] = {}

    def request(self, method: str, url: str, fields: dict[str, str] | None = None) -> Reply:
        """Send one request; redirects are not followed."""
        parts = urlsplit(urljoin(self.base, url))
        headers = {"User-Agent": self.user_agent}
        body = None
        if fields is not None:
            body = urlencode(fields).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        assert parts.hostname is not None
        connection = HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            reply = Reply(response.status, response.headers, response.read())
        finally:
            connection.close()
        for cookie in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return reply

    def get(self, url: str) -> Reply:
        """Fetch a page."""
        return self.request("GET", url)

    def form(self, url: str, reply: Reply) -> Form:
        """Read the form around the widget of a challenge page."""
        reader = _FormReader()
        reader.feed(reply.body.decode())
        assert reader.form is not None, "no form with a widget"
        action, fields, widget, sitekey = reader.form
        return Form(urljoin(urljoin(self.base, url), action), fields, widget, sitekey)

    def solve(self, url: str, form: Form) -> str:
        """Buy a token for a form's widget."""
        task = {
            "type": TASK_TYPES[form.widget][1],
            "websiteURL": urljoin(self.base, url),
            "websiteKey": form.sitekey,
        }
        created = post_json(f"{self.simulator}/2captcha/createTask", {"clientKey": "visitor", "task": task})
        for _ in range(100):
            asked = {"clientKey": "visitor", "taskId": created["taskId"]}
            result = post_json(f"{self.simulator}/2captcha/getTaskResult", asked)
            if result.get("status") == "ready":
                solution = result["solution"]
                return str(solution.get("token") or solution["gRecaptchaResponse"])
            time.sleep(0.02)
        raise AssertionError("never solved")

    def submit(self, form: Form, token: str) -> Reply:
        """Submit a form with a token."""
        return self.request("POST", form.url, {**form.fields, TASK_TYPES[form.widget][0]: token})
