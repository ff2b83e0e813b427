"""Ordinary pages that carry a widget, a key or a bot manager's tag: every carrier in every layout.

Carriers are shaped after the vendors' own documentation and after what public tests call false alarms.
"""

# ruff: noqa: E501 -- markup reads best as it stands on a page

from collections.abc import Iterator
from html import escape

_V2 = "6LeIxAcTAAAAAJcZVRqyHh71UMIEGNQ_MXjiZKhI"
_V3 = "6LdKlZEpAAAAAAOQjzC2v_d36tWxCl6dWsozdSy9"
_UUID = "33f96e6a-38cd-421b-bb68-7806e1764460"
_LOGIN = '<form action="/login" method="post"><input name="user"><input type="password" name="pw">{}<button>Log in</button></form>'
_CONTACT = '<form method="post"><input name="name"><input type="email" name="mail"><textarea name="text"></textarea>{}<button>Send</button></form>'
_SEARCH = '<form action="/find"><input type="search" name="q">{}<input type="submit" value="Go"></form>'
_WIDGETS = {
    "recaptcha v2": f'<script src="https://www.google.com/recaptcha/api.js" async></script><div class="g-recaptcha" data-sitekey="{_V2}"></div>',
    "recaptcha v2 rendered": f'<div id="rc"></div><script>function on(){{grecaptcha.render("rc",{{"sitekey":"{_V2}"}})}}</script>',
    "recaptcha enterprise": f'<script src="https://www.google.com/recaptcha/enterprise.js"></script><div class="g-recaptcha" data-sitekey="{_V3}" data-action="LOGIN"></div>',
    "recaptcha v3 button": f'<script src="https://www.google.com/recaptcha/api.js"></script><button class="g-recaptcha" data-sitekey="{_V3}" data-callback="s" data-action="submit">OK</button>',
    "hcaptcha": f'<script src="https://js.hcaptcha.com/1/api.js" async></script><div class="h-captcha" data-sitekey="{_UUID}"></div>',
    "turnstile": '<script src="https://challenges.cloudflare.com/turnstile/v0/api.js" async></script><div class="cf-turnstile" data-sitekey="0x4AAAAAAADnPIDROrmt1Wwj"></div>',
    "geetest 3": '<div id="gt"></div><script>initGeetest({gt:"f1ab2cdefa3456789012345b6c78d90e",challenge:"12345678abc90123d45678ef90123a45",product:"popup"},cb)</script>',
    "geetest 4": '<script src="https://static.geetest.com/v4/gt4.js"></script><script>initGeetest4({captchaId:"647f5ed2ed8acb4be36784e01556bb71",product:"bind"},cb)</script>',
    "arkose": f'<script src="https://client-api.arkoselabs.com/v2/{_UUID}/api.js" data-callback="s"></script><div id="challenge"></div>',
}
# On every page of a site, whatever it shows.
_TAGS = {
    "recaptcha v3 badge": f'<script src="https://www.google.com/recaptcha/api.js?render={_V3}"></script><script>grecaptcha.ready(function(){{grecaptcha.execute("{_V3}",{{action:"page"}})}})</script>',
    "recaptcha enterprise badge": f'<script src="https://www.google.com/recaptcha/enterprise.js?render={_V3}"></script><script>grecaptcha.enterprise.execute("{_V3}",{{action:"page"}})</script>',
    "recaptcha invisible": f'<script src="https://www.google.com/recaptcha/api.js"></script><div class="g-recaptcha" data-sitekey="{_V2}" data-size="invisible"></div>',
    "hcaptcha invisible": f'<script src="https://js.hcaptcha.com/1/api.js"></script><div class="h-captcha" data-sitekey="{_UUID}" data-size="invisible"></div>',
    "turnstile when needed": '<div class="cf-turnstile" data-sitekey="0x4AAAAAAADnPIDROrmt1Wwj" data-appearance="interaction-only"></div>',
    "scripts for later": '<script src="https://www.google.com/recaptcha/api.js?render=explicit" defer></script><script src="https://js.hcaptcha.com/1/api.js?render=explicit" defer></script><script src="https://challenges.cloudflare.com/turnstile/v0/api.js?render=explicit" defer></script>',
    "keys in a script": f'<script>window.conf={{"recaptcha":{{"sitekey":"{_V2}"}},"turnstile":{{"siteKey":"0x4AAAAAAADnPIDROrmt1Wwj"}},"hcaptcha":"{_UUID}","arkose":{{"pkey":"{_UUID}"}},"geetest":{{"captchaId":"647f5ed2ed8acb4be36784e01556bb71"}}}}</script>',
    "keys in JSON": f'<script type="application/json" id="state">{{"captcha":{{"provider":"g-recaptcha","sitekey":"{_V2}","required":false}}}}</script>',
    "a widget in a closed dialog": f'<dialog><form method="post"><div class="g-recaptcha" data-sitekey="{_V2}"></div></form></dialog><div class="modal" hidden><form method="post"><div class="h-captcha" data-sitekey="{_UUID}"></div></form></div>',
    "a widget in a template": f'<template><form method="post"><div class="cf-turnstile" data-sitekey="0x4AAAAAAADnPIDROrmt1Wwj"></div></form></template><!-- <div class="g-recaptcha" data-sitekey="{_V2}"></div> -->',
    "Cloudflare detections": "<script>(function(){var d=document.createElement(\"script\");d.innerHTML=\"window.__CF$cv$params={r:'9f0',t:'MTc3'};var a=document.createElement('script');a.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js';\";document.body.appendChild(d)})()</script>",
    "Cloudflare rocket loader": '<script src="/cdn-cgi/scripts/7d0fa10a/cloudflare-static/rocket-loader.min.js" defer></script><script src="/cdn-cgi/challenge-platform/h/b/scripts/jsd/8c1/main.js"></script>',
    "DataDome": '<script>!function(a,b,c,d,e){a.ddjskey=e;var m=b.createElement(c);m.src=d}(window,document,"script","https://js.datadome.co/tags.js","E6EAF460AA2A")</script><link rel="preconnect" href="https://geo.captcha-delivery.com">',
    "HUMAN": '<script>window._pxAppId="PX12345678";(function(){var s=document.createElement("script");s.src="//client.px-cloud.net/PX12345678/main.min.js"})()</script><div style="display:none"><div id="px-captcha"></div></div>',
    "Akamai": '<script src="/akam/13/57574891" defer></script><noscript><img src="/akam/13/pixel_57574891?a=dD0x" style="visibility: hidden; position: absolute;"></noscript>',
    "Imperva": '<script src="/_Incapsula_Resource?SWJIYLWA=719d34d31c8e3a6e6fffd425f7e032f3&ns=1&cb=1" async></script>',
    "Kasada": '<script src="/149e9513-01fa-4fb0-aad4-566afd725d1b/p.js"></script><script>window.KPSDK && KPSDK.configure([{domain: "shop.example", path: "/api", method: "POST"}])</script>',
    "AWS WAF": '<script src="https://ab.cd.us-east-1.token.awswaf.com/ab/cd/challenge.js" defer></script><script>addEventListener("load", () => AwsWafIntegration.getToken())</script>',
    "quoted markup": f'<pre>{escape(f"""<div class="g-recaptcha" data-sitekey="{_V2}"></div><script>window._cf_chl_opt={{}};window.gokuProps={{}}</script><iframe src="https://geo.captcha-delivery.com/captcha/?t=fe">""")}</pre>',
}
_WORDS = "The lamp is made of oak and brass, and gives a warm light in the evening. "
_LAYOUTS = {
    "article": ("A lamp of oak", f"<article><h1>A lamp of oak</h1><p>{_WORDS * 30}</p></article>", 200),
    "product": ("Lamp", f"<h1>Lamp</h1><p>{_WORDS * 6}</p><ul><li>oak<li>brass</ul>", 200),
    "short": ("Opening hours", "<h1>Opening hours</h1><p>Monday to Friday, nine to five.</p>", 200),
    "shell": ("App", '<div id="root"></div><script src="/app.js"></script>', 200),
    "list": (
        "Lamps",
        "<ul>" + "".join(f'<li><a href="/{n}">Lamp {n}</a>' for n in range(200)) + "</ul>",
        200,
    ),
    "about robots": (
        "How people are told from robots",
        f"<h1>How people are told from robots</h1><p>A CAPTCHA asks whether you are human. {_WORDS * 40}</p>",
        200,
    ),
    "not found": ("Not found", f"<h1>There is no such page</h1><p>{_WORDS * 5}</p>", 404),
    "gone wrong": ("Error", f"<h1>Something went wrong</h1><p>{_WORDS * 5}</p>", 500),
    "hidden text": (
        "Lamps",
        f"<style>{'.a{color:red}' * 8000}</style><main><p>{_WORDS * 40}</p></main>",
        200,
    ),
}


def carriers() -> Iterator[tuple[str, str, int]]:
    """Yield name, HTML and status of each page."""
    for layout, (title, main, status) in _LAYOUTS.items():
        for tag, markup in _TAGS.items():
            yield f"{layout}, {tag}", _page(title, main + markup), status
        for name, widget in _WIDGETS.items():
            for form, markup in (("login", _LOGIN), ("contact", _CONTACT), ("search", _SEARCH)):
                yield f"{layout}, {form} with {name}", _page(title, main + markup.format(widget)), status


def _page(title: str, main: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body><header>'
        f'<a href="/">Shop</a></header><nav><a href="/a">Lamps</a></nav><main>{main}</main>'
        "<footer>Imprint</footer></body></html>"
    )
