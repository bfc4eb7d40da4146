"""What tests of the panel share: a gateway with traffic and an empty one, somebody signed in, a real browser."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.gateway_process import ADMIN_PASSWORD, GatewayProcess, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MODELS = ("openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5", "google/gemini-2.5-flash")


@dataclass
class PanelWorld:
    """A running gateway, and who calls it."""

    gateway: GatewayProcess
    simulator: SimulatorThread
    clients: dict[str, str] = field(default_factory=dict)
    """Names and keys."""

    @property
    def origin(self) -> str:
        return self.gateway.origin

    def call(self, client: str, model: str = MODELS[0], *, stream: bool = False, text: str = "Hello") -> dict[str, Any]:
        """One chat call of a client; what was answered, or {} for a stream."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20, "stream": stream}
        request = urllib.request.Request(
            f"{self.gateway.base_url}/chat/completions",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {self.clients[client]}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            read = answer.read()
        return {} if stream else dict(json.loads(read))

    def booked(self) -> int:
        """How many calls stand in the ledger."""
        return len(json.loads(self.gateway.cli("requests", "list", "--json").stdout)["requests"])

    def sign_in(self, name: str = "admin", password: str = ADMIN_PASSWORD) -> httpx2.Client:
        """A browser's session without a browser: cookies, same-origin headers, redirects not followed. To be closed."""
        client = httpx2.Client(base_url=self.origin, headers={"sec-fetch-site": "same-origin"}, timeout=20)
        answer = client.post("/login", data={"username": name, "password": password})
        assert answer.status_code == 303, answer.text
        return client


@pytest.fixture(scope="session")
def panel_world() -> Iterator[PanelWorld]:
    """Three OpenRouter keys, three clients and a little traffic of every kind. Tests may add, and take nothing away."""
    with running_simulator() as simulator, running_gateway(simulator.base_url, keys=simulator.new_keys(3)) as gateway:
        world = PanelWorld(gateway, simulator)
        for name in ("alice", "nightly-job", "research"):
            world.clients[name] = gateway.create_client(name).key
        for number, model in enumerate(MODELS * 3):
            world.call("alice" if number % 2 else "nightly-job", model, stream=number % 3 == 0)
        wait_until(lambda: world.booked() == 3 * len(MODELS), what="the calls in the books")
        yield world


@pytest.fixture(scope="session")
def empty_world() -> Iterator[PanelWorld]:
    """A gateway at its first start: no key, no client, no call. Tests must leave it so."""
    with running_simulator() as simulator, running_gateway(simulator.base_url) as gateway:
        yield PanelWorld(gateway, simulator)


@pytest.fixture(scope="session")
def signed_in(panel_world: PanelWorld) -> Iterator[httpx2.Client]:
    """The administrator in `panel_world`."""
    with closing(panel_world.sign_in()) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this machine. For each module its own: while it runs, its event loop keeps others out."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


_BAD = ("error", "warning")
OpenPage = Callable[..., "Page"]
_WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push(
    `${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`));
"""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """`open_page(world, "/admin", width=390, dark=True, script=False)`: somebody's page. What the console
    or the content policy complains about fails the test; without `strict`, the console may.
    """
    with ExitStack() as stack:
        complaints: list[str] = []
        pages: list[tuple[Page, bool]] = []

        def make(
            world: PanelWorld,
            path: str,
            *,
            width: int = 1440,
            dark: bool = False,
            script: bool = True,
            signed_in: bool = True,
            language: str = "en",
            strict: bool = True,
        ) -> Page:
            context = browser.new_context(
                viewport={"width": width, "height": 900},
                color_scheme="dark" if dark else "light",
                java_script_enabled=script,
                base_url=world.origin,
                locale=language,
            )
            stack.callback(context.close)
            if signed_in:
                with closing(world.sign_in()) as client:
                    for cookie in client.cookies.jar:
                        context.add_cookies([{"name": cookie.name, "value": str(cookie.value), "url": world.origin}])
            page = context.new_page()
            if script:
                page.add_init_script(_WATCH)
            if strict:
                page.on(
                    "console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None
                )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            pages.append((page, script))
            page.goto(path)
            return page

        yield make
        for page, script in pages:
            if script and not page.is_closed():
                complaints += page.evaluate("window.violations")
        assert not complaints
