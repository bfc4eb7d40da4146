// The list of calls: a call opens in a drawer under its own address, and new calls come in on top. Without it each call
// is a page, and the list loads itself anew.

const drawer = document.getElementById("drawer");
const list = document.getElementById("calls");
const listAddress = location.href;
let shown = null;
let opener = null;
let latest = null;

// A drawer that was loaded anew is a page: what was below it is loaded, too.
if (!list) addEventListener("popstate", () => location.reload());

const links = () => [...list.querySelectorAll("tbody:not([hidden]) a[data-call]")];

async function open(link, push) {
  latest = link;
  const place = link.closest("tr")?.dataset.place ?? "";
  const answer = await fetch(`${link.href}?at=${place}`, { headers: { "HX-Request-Type": "partial" } });
  // Whoever is signed out, and whatever is gone, has a page of its own.
  if (answer.redirected || !answer.ok) return location.assign(link.href);
  const text = await answer.text();
  if (latest !== link) return;
  drawer.innerHTML = text;
  drawer.dispatchEvent(new Event("htmx:after:swap", { bubbles: true }));
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
  const state = { call: link.href };
  if (push && !shown) history.pushState(state, "", link.href);
  else history.replaceState(state, "", link.href);
  shown = link;
}

function step(by) {
  const all = links();
  const next = all[all.findIndex((link) => link.href === shown?.href) + by];
  if (next) open(next, false);
}

drawer?.addEventListener("close", () => {
  opener = shown ?? opener;
  shown = null;
  if (history.state?.call) history.back();
  opener?.focus();
  show();
});

drawer?.addEventListener("click", (event) => {
  const by = event.target.closest("[data-step]")?.dataset.step;
  if (by) step(Number(by));
});

drawer?.addEventListener("keydown", (event) => {
  if (document.documentElement.dataset.shortcuts === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
});

list?.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const row = event.target.closest("tr[data-open]");
  const link = event.target.closest("a") ?? row?.querySelector("a[data-call]");
  if (!link?.matches("a[data-call]") || getSelection()?.type === "Range") return;
  event.preventDefault();
  open(link, true);
});

// Back and forward between the list and its drawer load nothing. htmx takes part in every step, and with it the focus.
if (list) addEventListener("popstate", async () => {
  const call = links().find((link) => link.href === location.href);
  if (call) {
    if (call.href !== shown?.href) open(call, false);
  } else if (location.href === listAddress) {
    opener = shown ?? opener;
    shown = null;
    drawer.close();
    await globalThis.navigation?.transition?.finished;
    if (!drawer.open) opener?.focus();
  } else location.reload();
});

// Following: what came waits while somebody reads, and slides in when nobody does.
const button = document.getElementById("fresh");
const waiting = document.createElement("tbody");
let asking = false;
let again = false;

const reads = () => drawer.open || scrollY > 60 || list.querySelector("table:hover, tbody :focus-visible") !== null;

function show() {
  if (!button || !waiting.children.length) return;
  button.hidden = !reads();
  button.textContent = button.dataset.text.replace("{n}", String(waiting.children.length));
  if (!button.hidden) return;
  document.getElementById("none")?.remove();
  list.querySelector(".scroll").hidden = false;
  for (const row of waiting.children) row.classList.add("fade");
  const rows = list.querySelector("tbody");
  rows.prepend(...waiting.children);
  while (rows.children.length > 300) rows.lastElementChild.remove();
  rows.dispatchEvent(new Event("htmx:after:swap", { bubbles: true }));
}

async function ask() {
  if (asking) { again = true; return; }
  asking = true;
  try {
    const address = new URL(list.dataset.newer, location);
    address.searchParams.set("newer", list.dataset.newest);
    const answer = await fetch(address, { headers: { "HX-Request-Type": "partial", "X-Live": "1" } });
    if (answer.ok && !answer.redirected) {
      const found = document.createElement("template");
      found.innerHTML = await answer.text();
      waiting.prepend(...found.content.querySelectorAll("tr"));
      list.dataset.newest = waiting.firstElementChild?.dataset.place ?? list.dataset.newest;
      show();
    }
  } catch {
    // The next news asks again.
  }
  asking = false;
  if (again) { again = false; ask(); }
}

if (button) {
  document.body.addEventListener("request", ask);
  // A stream may be refused, or cut by a proxy on the way.
  setInterval(() => { if (!document.hidden) ask(); }, 10000);
  button.addEventListener("click", () => { scrollTo({ top: 0 }); setTimeout(show, 50); });
  list.addEventListener("mouseleave", () => setTimeout(show));
  addEventListener("scroll", show, { passive: true });
}
