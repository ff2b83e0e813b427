"""The pages that the benchmarks fetch and store: 29 KB of HTML each, all different, the same in every run.

They are made of words by Zipf's law, so that they compress and parse about as pages of shops do: a head
with styles and a script, a navigation, some forty articles with links and pictures. None holds what a
challenge looks like.
"""

from random import Random

SIZE = 29_000
_SYLLABLES = (
    "ka",
    "ro",
    "mi",
    "te",
    "lun",
    "sa",
    "vor",
    "el",
    "dan",
    "qui",
    "ber",
    "no",
    "pra",
    "shi",
    "ost",
    "u",
)
_HEAD = (
    '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>\n'
    '<link rel="canonical" href="/catalogue/{number}"><link rel="stylesheet" href="/static/site.css">\n'
    "<style>body{{font:16px/1.5 sans-serif;margin:0}}nav a{{padding:4px 8px}}.price{{color:#a00}}</style>\n"
    '<script>window.dataLayer=window.dataLayer||[];dataLayer.push({{"page":{number},"kind":"list"}});</script>\n'
    "</head>\n<body><nav>{nav}</nav><main>\n"
)
_ARTICLE = (
    '<article class="item" id="item-{number}"><h2><a href="/item/{number}?from=list">{title}</a></h2>'
    '<img src="/img/{number}.jpg" alt="{title}" loading="lazy"><p>{text}</p>'
    '<p class="price">{price}</p><a class="more" href="/item/{number}#reviews">{more}</a></article>\n'
)


def _words(chance: Random) -> list[str]:
    return ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(3_000)]


_VOCABULARY = _words(Random(29))
_WEIGHTS = [1 / (rank + 2) for rank in range(len(_VOCABULARY))]
_CUMULATIVE = [sum(_WEIGHTS[: rank + 1]) for rank in range(len(_WEIGHTS))]


def page(number: int) -> bytes:
    """Return a page; the same number gives the same page."""
    chance = Random(number)

    def text(words: int) -> str:
        return " ".join(chance.choices(_VOCABULARY, cum_weights=_CUMULATIVE, k=words))

    nav = "".join(f'<a href="/section/{word}">{word}</a>' for word in _VOCABULARY[:40])
    parts = [_HEAD.format(title=text(6), number=number, nav=nav)]
    size = len(parts[0])
    while size < SIZE - 500:
        item = chance.randrange(1_000_000)
        price = f"{chance.randrange(1, 500)}.{chance.randrange(100):02d} EUR"
        article = _ARTICLE.format(number=item, title=text(5), text=text(60), price=price, more=text(2))
        parts.append(article)
        size += len(article)
    end = "</main></body></html>\n"
    parts.append(f"<footer>{text(200)}"[: max(0, SIZE - size - len(end) - 9)] + "</footer>" + end)
    return "".join(parts).encode()
