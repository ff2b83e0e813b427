"""The form around a challenge, as a browser would submit it. Pure.

Fields come in page order: inputs with their values, ticked boxes, chosen options, and the button that a
person would press. Hidden is what no person could fill in.
"""

from collections.abc import Iterator
from typing import Literal

from selectolax.lexbor import LexborHTMLParser, LexborNode
from tidegate.captcha_records import ChallengeForm
from yarl import URL

_CONTROLS = "input, select, textarea, button"
_NO_VALUE_TYPES = frozenset({"reset", "button", "image", "file"})
_UNFILLED_TYPES = frozenset({"hidden", "submit", "reset", "button", "image", "checkbox"})
_INVISIBLE_TAGS = frozenset({"template", "noscript", "script", "style", "head"})
_INVISIBLE_CLASSES = frozenset({"hidden", "d-none", "modal", "invisible", "visually-hidden", "sr-only"})
MAX_FIELDS = 500
# How far up and how wide is looked: what a stranger nests or repeats must not stop the fetcher. Browsers
# nest 512 deep at most; honest pages have dozens of levels, and forms dozens of controls.
MAX_DEPTH = 256
MAX_CONTROLS = 500


def hidden(node: LexborNode) -> bool:
    """Say whether a person does not see the node, as far as the markup alone tells."""
    here: LexborNode | None = node
    for _ in range(MAX_DEPTH):
        if here is None:
            break
        attributes = here.attributes
        if here.tag in _INVISIBLE_TAGS or "hidden" in attributes:
            return True
        if here.tag == "dialog" and "open" not in attributes:
            return True
        style = (attributes.get("style") or "").replace(" ", "").lower()
        if "display:none" in style or "visibility:hidden" in style:
            return True
        if attributes.get("aria-hidden") == "true":
            return True
        if not _INVISIBLE_CLASSES.isdisjoint((attributes.get("class") or "").split()):
            return True
        here = here.parent
    return False


def enclosing(node: LexborNode) -> LexborNode | None:
    """Return the form in which a node stands."""
    here = node.parent
    while here is not None and here.tag != "form":
        here = here.parent
    return here


def controls(tree: LexborHTMLParser, form: LexborNode) -> Iterator[LexborNode]:
    """Yield a form's controls, those that name it from elsewhere last; the first ones of very many."""
    own = form.css(_CONTROLS)[:MAX_CONTROLS]
    yield from own
    name = form.attributes.get("id")
    if not name:
        return
    inside = {node.mem_id for node in own}
    for node in tree.css("[form]")[:MAX_CONTROLS]:
        if node.attributes.get("form") == name and node.mem_id not in inside:
            yield node


def fillable(node: LexborNode, token_fields: frozenset[str]) -> bool:
    """Say whether a control waits for a person's input: what a login form has and a gate has not.

    A box to tick does not count: gates ask whether to remember the browser.
    """
    if node.tag == "button" or (node.attributes.get("name") or "") in token_fields:
        return False
    kind = (node.attributes.get("type") or "text").lower()
    if node.tag == "input" and kind in _UNFILLED_TYPES:
        return False
    return not hidden(node)


def has_boxes(tree: LexborHTMLParser, form: LexborNode) -> bool:
    """Say whether a form has boxes to tick, as gates seldom have and polls do."""
    return any(
        node.attributes.get("type") == "checkbox" and not hidden(node) for node in controls(tree, form)
    )


def read(
    tree: LexborHTMLParser, form: LexborNode, page: URL, token_fields: tuple[str, ...]
) -> ChallengeForm | None:
    """Return the form as data; None where its action is nothing that can be requested."""
    fields: list[tuple[str, str]] = []
    pressed: LexborNode | None = None
    for node in controls(tree, form):
        attributes = node.attributes
        if "disabled" in attributes:
            continue
        kind = (attributes.get("type") or ("submit" if node.tag == "button" else "text")).lower()
        if kind == "submit" and node.tag in ("input", "button"):
            if pressed is not None:
                continue
            pressed = node
        elif kind in _NO_VALUE_TYPES:
            continue
        name = attributes.get("name")
        if name and len(fields) < MAX_FIELDS:
            fields.extend((name, value) for value in _values(node, kind))
    buttons = {} if pressed is None else pressed.attributes
    action = _action(tree, page, buttons.get("formaction") or form.attributes.get("action"))
    if action is None:
        return None
    method = (buttons.get("formmethod") or form.attributes.get("method") or "get").lower()
    verb: Literal["GET", "POST"] = "POST" if method == "post" else "GET"
    return ChallengeForm(action=str(action), method=verb, fields=tuple(fields), token_fields=token_fields)


def _values(node: LexborNode, kind: str) -> list[str]:
    """Return the values that a control sends: none, one, or one for each chosen option."""
    attributes = node.attributes
    if node.tag == "textarea":
        return [node.text(deep=True)]
    if node.tag == "select":
        options = [option for option in node.css("option") if "disabled" not in option.attributes]
        chosen = [option for option in options if "selected" in option.attributes]
        if not chosen and options and "multiple" not in attributes:
            chosen = options[:1]
        return [_option_value(option) for option in chosen]
    if kind in ("checkbox", "radio"):
        return [attributes.get("value") or "on"] if "checked" in attributes else []
    return [attributes.get("value") or ""]


def _option_value(option: LexborNode) -> str:
    value = option.attributes.get("value")
    return option.text(deep=True).strip() if value is None else value


def _action(tree: LexborHTMLParser, page: URL, action: str | None) -> URL | None:
    """Return the absolute action; the page's base counts, a missing action means the page itself."""
    try:
        target = page
        base = tree.css_first("base[href]")
        if action and action.strip():
            if base is not None:
                target = page.join(URL((base.attributes.get("href") or "").strip()))
            target = target.join(URL(action.strip()))
        target = target.with_fragment(None).with_user(None)
    except (ValueError, TypeError, UnicodeError):
        return None
    return target if target.scheme in ("http", "https") and target.raw_host else None
