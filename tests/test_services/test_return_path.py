"""Where a login leads: own pages only, whatever trick is written into the address."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.return_path import HOME, login_path, return_path


@pytest.mark.parametrize(
    "wanted",
    [
        "/admin",
        "/admin/",
        "/admin/openrouter-keys",
        "/admin/client-keys/ck_1?tab=limits&period=7d",
        "/admin/requests?model=openai%2Fgpt-4o&from=2026-11-01T00:00:00Z",
    ],
)
def test_pages_of_the_panel_are_kept(wanted: str) -> None:
    """With their query: it is the state of the page."""
    assert return_path(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/admin\\@evil.example",
        "https://evil.example/admin",
        "https:evil.example",
        "http:///evil.example",
        "javascript:alert(1)",
        "/%2f%2fevil.example",
        "/%5cevil.example",
        "/admin/..//evil.example",
        "/admin/../login",
        "/admin/%2e%2e/login",
        "/admin//evil.example",
        "/admin/\t/evil.example",
        "/admin\r\nset-cookie: a=b",
        "/admin?a=%0d%0aset-cookie:%20a=b",
        "/admin?a=%250d%250a",
        "/admin?a=%25250a",
        "/administrator",
        "/admin.evil.example",
        "/admin@evil.example",
        "/admin#//evil.example",
        "/login?next=/admin",
        "/logout",
        "/admin/api/openrouter-keys",
        " /admin",
        "/admin ",
        "/admin/é",
        "/admin?" + "a" * 1000,
    ],
)
def test_everything_else_leads_to_the_overview(wanted: str) -> None:
    """Other hosts, other schemes, other readings, and own addresses that are no pages."""
    assert return_path(wanted) == HOME


@given(st.text(alphabet="/\\.:@?#%&=+-_ \t\r\nadminevl2fF5c0e%" + "é\u2028", max_size=60))
def test_no_text_leads_to_another_host(wanted: str) -> None:
    """However a browser reads the answer: scheme and host stay ours."""
    found = return_path("/admin" + wanted if len(wanted) % 2 else wanted)

    for reading in (found, unquote(found), found.replace("\\", "/")):
        assert urlsplit(urljoin("https://gateway.example/login", reading)).netloc == "gateway.example"
    assert found.startswith("/admin")
    assert not set(found) & set("\r\n\t\\ ")


def test_the_login_page_remembers_where_somebody_wanted_to_go() -> None:
    """In its own query, encoded; the overview goes without saying."""
    wanted = "/admin/requests?model=a%2Fb&q=1"
    path, _, query = wanted.partition("?")

    assert login_path("/admin") == "/login"
    assert login_path("//evil.example") == "/login"
    assert parse_qs(urlsplit(login_path(path, query)).query)["next"] == [wanted]
