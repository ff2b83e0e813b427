"""The form around a challenge, as a browser would submit it. Pure.

Fields come in page order: inputs with their values, ticked boxes, chosen options, and the button that a
person would press. Hidden is what no person could fill in.
"""

from typing import Literal

from tidegate.captcha_records import ChallengeForm
from yarl import URL

from tidegate_fetcher import urls
from tidegate_fetcher.markup import Document, Element, raw_text

_CONTROLS = ("input", "select", "textarea", "button")
_NO_VALUE_TYPES = frozenset({"reset", "button", "image", "file"})
_UNFILLED_TYPES = frozenset({"hidden", "submit", "reset", "button", "image", "checkbox"})
MAX_FIELDS = 500
MAX_CONTROLS = 500
MAX_FORMS = 16


class Forms:
    """The forms of a page with their controls, each control once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._controls: dict[int, list[Element]] = {}
        self._options_by_select: dict[int, list[Element]] | None = None
        named = {
            form.get("id"): form for form in reversed(document.tagged("form")) if "id" in form.attributes
        }
        wanted = set(_CONTROLS)
        for element in document.elements:
            if element.tag not in wanted:
                continue
            form = element.form
            if "form" in element.raw:
                form = named.get(element.attributes.get("form", ""), form)
            if form is not None:
                controls = self._controls.setdefault(id(form), [])
                if len(controls) < MAX_CONTROLS:
                    controls.append(element)

    def controls(self, form: Element) -> list[Element]:
        """Return a form's controls in page order, also those that name it from elsewhere; at most 500."""
        return self._controls.get(id(form), [])

    def asks(self, form: Element, fields: frozenset[str]) -> bool:
        """Say whether a form asks a person for more than what is in ``fields``: a login or contact form."""
        return any(fillable(control, fields) for control in self.controls(form))

    def has_boxes(self, form: Element) -> bool:
        """Say whether a form has boxes to tick, as gates seldom have and polls do."""
        boxes = (control for control in self.controls(form) if control.get("type").lower() == "checkbox")
        return any(not box.hidden for box in boxes)

    def names(self, form: Element) -> set[str]:
        """Return the names of a form's controls."""
        return {control.get("name") for control in self.controls(form)}

    def visible(self) -> list[Element]:
        """Return the first forms that a person sees."""
        return [form for form in self._document.tagged("form")[:MAX_FORMS] if not form.hidden]

    def read(self, form: Element, page: URL, token_fields: tuple[str, ...]) -> ChallengeForm | None:
        """Return a form as data; None where its action is nothing that can be requested."""
        fields: list[tuple[str, str]] = []
        pressed: Element | None = None
        for control in self.controls(form):
            if "disabled" in control.attributes:
                continue
            kind = (control.get("type") or ("submit" if control.tag == "button" else "text")).lower()
            if kind == "submit" and control.tag in ("input", "button"):
                if pressed is not None:
                    continue
                pressed = control
            elif kind in _NO_VALUE_TYPES:
                continue
            name = control.get("name")
            if name and len(fields) < MAX_FIELDS:
                fields.extend((name, value) for value in self._values(control, kind))
        button = {} if pressed is None else pressed.attributes
        action = self._action(page, button.get("formaction") or form.get("action"))
        if action is None:
            return None
        method = (button.get("formmethod") or form.get("method") or "get").lower()
        verb: Literal["GET", "POST"] = "POST" if method == "post" else "GET"
        return ChallengeForm(action=str(action), method=verb, fields=tuple(fields), token_fields=token_fields)

    def _values(self, control: Element, kind: str) -> list[str]:
        """Return the values that a control sends: none, one, or one for each chosen option."""
        attributes = control.attributes
        if control.tag == "textarea":
            return [raw_text(control)]
        if control.tag == "select":
            return self._chosen(control)
        if kind in ("checkbox", "radio"):
            return [attributes.get("value") or "on"] if "checked" in attributes else []
        return [attributes.get("value") or ""]

    def _chosen(self, select: Element) -> list[str]:
        options = [
            option for option in self._options().get(id(select), ()) if "disabled" not in option.attributes
        ]
        chosen = [option for option in options if "selected" in option.attributes]
        if not chosen and options and "multiple" not in select.attributes:
            chosen = options[:1]
        return [
            option.get("value") if "value" in option.attributes else self._document.own_text(option)
            for option in chosen
        ]

    def _options(self) -> dict[int, list[Element]]:
        """Return the options of each select, found in one walk."""
        if self._options_by_select is None:
            within: dict[int, Element | None] = {}
            self._options_by_select = {}
            for element in self._document.elements:
                select = None if element.parent is None else within.get(id(element.parent))
                within[id(element)] = element if element.tag == "select" else select
                if element.tag == "option" and select is not None:
                    self._options_by_select.setdefault(id(select), []).append(element)
        return self._options_by_select

    def _action(self, page: URL, action: str) -> URL | None:
        """Return the absolute action; the page's base counts, a missing action means the page itself."""
        target: URL | None = page
        if action.strip():
            bases = [base for base in self._document.tagged("base")[:MAX_FORMS] if "href" in base.attributes]
            if bases:
                target = urls.parsed(bases[0].get("href"), page)
            target = None if target is None else urls.parsed(action, target)
        if target is None or not urls.is_web(target):
            return None
        return target.with_fragment(None).with_user(None)


def fillable(control: Element, fields: frozenset[str]) -> bool:
    """Say whether a control waits for a person's input: what a login form has and a gate has not.

    A box to tick does not count: gates ask whether to remember the browser.
    """
    if control.tag == "button" or control.get("name") in fields:
        return False
    kind = (control.get("type") or "text").lower()
    if control.tag == "input" and kind in _UNFILLED_TYPES:
        return False
    return not control.hidden
