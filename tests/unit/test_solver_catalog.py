"""Profiles and prices as files: what is shipped, what an operator puts over it, and the page about it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import SecretStr, ValidationError
from support.solver import a_request
from tidegate.errors import ConfigurationError
from tidegate.proxies import parse
from tidegate.records import ChallengeKind, Route
from tidegate.settings import load
from tidegate_solver import wire
from tidegate_solver.app import profile_of
from tidegate_solver.catalog import choose_profile, load_profiles
from tidegate_solver.settings import ProviderSettings, Settings, SolverSettings

ROOT = Path(__file__).parents[2]
V2 = ChallengeKind.RECAPTCHA_V2


def solving_docs() -> ModuleType:
    """Return the tool that writes the page: it is no package."""
    spec = importlib.util.spec_from_file_location("solving_docs", ROOT / "tools" / "solving_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_about_providers_is_what_the_profiles_say() -> None:
    """A change of a profile or price without ``python tools/solving_docs.py`` turns red."""
    tool = solving_docs()
    assert tool.PAGE.read_text(encoding="utf-8") == tool.written()


def test_an_operators_prices_come_over_the_shipped_ones(tmp_path: Path) -> None:
    """Entry by entry, with their date; a kind that only he has a price for is sold from then on."""
    file = tmp_path / "prices.toml"
    file.write_text('as_of = "2027-01"\n[capsolver]\nsource = "my account"\nusd = { turnstile = 0.0004 }\n')
    profiles = load_profiles(file)
    capsolver = profiles["capsolver"]
    assert capsolver.kinds[ChallengeKind.TURNSTILE].price == 0.0004
    assert capsolver.kinds[V2].price == 0.0008
    assert "my account, 2027-01" in capsolver.prices_as_of
    assert profiles["2captcha"] == load_profiles()["2captcha"]


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[capsolver]\nusd = { turnstile = 0.1 }\n",
        'as_of = "2027"\n[capsolvr]\nusd = { turnstile = 0.1 }\n',
        'as_of = "2027"\n[capsolver]\nusd = { turnstyle = 0.1 }\n',
        'as_of = "2027"\n[capsolver]\nusd = { turnstile = -0.1 }\n',
    ],
)
def test_a_price_file_that_is_wrong_is_refused_at_start(tmp_path: Path, text: str) -> None:
    """No TOML, no date, a provider or kind that nobody knows, a negative price: a sentence about the file."""
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"prices\.toml"):
        load_profiles(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_profiles(tmp_path / "none.toml")


def test_several_accounts_come_as_json_and_one_as_variables() -> None:
    """TIDEGATE_SOLVER__PROVIDERS takes the single one's place; two accounts may share a profile."""
    one = load(Settings, {"TIDEGATE_SOLVER__PROVIDER": "2captcha", "TIDEGATE_SOLVER__API_KEY": "k"}).solver
    assert list(one.accounts()) == ["2captcha"]
    assert one.accounts()["2captcha"].api_key.get_secret_value() == "k"
    several = load(
        Settings,
        {
            "TIDEGATE_SOLVER__PROVIDERS": '{"capsolver": {"api_key": "a", "prices": {"turnstile": 0.001}},'
            ' "other": {"profile": "2captcha", "api_key": "b", "concurrency": 7}}',
            "TIDEGATE_SOLVER__ROUTE": "fastest",
        },
    ).solver
    assert several.route is Route.FASTEST
    profiles = {name: profile_of(name, account) for name, account in several.accounts().items()}
    assert [profile.name for profile in profiles.values()] == ["capsolver", "other"]
    assert profiles["other"].base_url == "https://api.2captcha.com"
    assert profiles["capsolver"].kinds[ChallengeKind.TURNSTILE].price == 0.001
    assert several.accounts()["other"].concurrency == 7


@pytest.mark.parametrize("value", ["[]", '{"capsolver": {"api_kee": "x"}}', '{"capsolver": 1}', "{"])
def test_accounts_that_make_no_sense_are_refused_at_start(value: str) -> None:
    """The sentence names the variable."""
    with pytest.raises(ConfigurationError, match="TIDEGATE_SOLVER__PROVIDERS"):
        load(Settings, {"TIDEGATE_SOLVER__PROVIDERS": value})


def test_an_account_of_an_unknown_service_is_refused_with_the_known_ones() -> None:
    """A misspelt name must not pass in silence."""
    with pytest.raises(ConfigurationError, match="capmonster"):
        profile_of("capmnster", ProviderSettings(api_key=SecretStr("k")))


def test_a_proxy_is_used_where_it_is_needed_or_wished_for() -> None:
    """By its own type name and in split fields; Anti-Captcha takes no host names."""
    from tidegate_solver.createtask import CreateTask  # noqa: PLC0415 -- what it is about

    proxy = wire.read_proxy("http://u:p@203.0.113.7:3128")
    named = wire.read_proxy("socks5h://proxy.example:1080")
    assert proxy is not None
    assert named is not None
    plain = choose_profile("anticaptcha")
    wished = choose_profile("anticaptcha", use_proxies=True)
    for chosen, kind in ((plain, "RecaptchaV2TaskProxyless"), (wished, "RecaptchaV2Task")):
        call = CreateTask(chosen, "k").create(chosen.kinds[V2], a_request(), proxy)
        assert call.json is not None
        assert call.json["task"]["type"] == kind
        assert ("proxyAddress" in call.json["task"]) == chosen.use_proxies
    assert proxy.suits(plain)
    assert not named.suits(plain)
    assert named.suits(choose_profile("2captcha"))
    assert not proxy.suits(choose_profile("2captcha", use_proxies=True)) or proxy.scheme == "http"


@pytest.mark.parametrize("text", ["", "proxy", "http://", "socks5://host", "http://host:99999", "::"])
def test_what_is_no_proxy_is_none(text: str) -> None:
    """A table of proxies with a wrong one in it keeps the others."""
    assert wire.read_proxy(text) is None
    assert list(wire.proxies_by_id({"bad": text, "good": "http://1.2.3.4:80"})) == ["good"]


def test_the_solver_reads_the_fetchers_own_list_of_proxies() -> None:
    """By the same ids, so that an answer is bought through the proxy that fetched the page."""
    text = "http://ann:s3cret@gate.example:7000\n# a remark\n198.51.100.8:3128\n"
    read = SolverSettings.model_validate({"proxies": text, "api_key": "k"}).proxies
    listed = {proxy.id: proxy.url for proxy in parse(text.encode()).proxies}
    assert {name: url.get_secret_value() for name, url in read.items()} == listed
    with pytest.raises(ValidationError) as caught:
        SolverSettings.model_validate({"proxies": "http://ann:s3cret@gate.example:x", "api_key": "k"})
    assert "s3cret" not in str(caught.value.errors(include_input=False))
