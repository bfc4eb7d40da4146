// What pages cannot do without a script: copying, the keyboard, the theme at once, local times. Nothing depends on it.

const root = document.documentElement;
const year = "max-age=31536000; path=/; samesite=strict";

function tell(text) {
  const line = document.createElement("p");
  line.className = "toast";
  line.textContent = text;
  document.getElementById("told")?.append(line);
  setTimeout(() => line.remove(), 6000);
}

async function copy(button) {
  const text = button.dataset.copy;
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "✓ " + said;
  } catch {
    // Without TLS browsers have no clipboard: the text is marked, and the person copies it.
    const shown = document.createElement("textarea");
    shown.value = text;
    shown.readOnly = true;
    button.after(shown);
    shown.select();
    button.textContent = "Ctrl-C";
  }
  setTimeout(() => { button.textContent = said; }, 4000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const opener = event.target.closest("[data-leave]");
  if (opener) leaving = null;
});

// Times of this computer instead of UTC, where somebody likes them better.
const forms = { clock: { hour: "2-digit", minute: "2-digit" }, day: { month: "short", day: "numeric" } };
function localTimes(where) {
  if (root.dataset.zone !== "local") return;
  for (const time of where.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = at.toLocaleString();
    if (time.dataset.form) time.textContent = at.toLocaleString(root.lang, forms[time.dataset.form]);
  }
}

// News: one stream for the page, and only where a part of it listens. It rests while the tab is hidden.
const { body } = document;
if (body.dataset.live && document.querySelector('[hx-trigger*="from:body"]')) {
  body.setAttribute("hx-sse:connect", body.dataset.live);
  body.setAttribute("hx-sse:close", "bye");
  body.setAttribute("hx-swap", "none");
  // Whoever is signed out sees the login, not what was there before.
  body.addEventListener("bye", () => location.reload());
  body.addEventListener("htmx:sse:error", (event) => { if (event.detail.status === 401) location.reload(); });
}

// What the page asks for by itself is told apart: it does not keep a session alive.
const news = new Set(["pool", "request", "figures"]);
document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  if (news.has(ctx.sourceEvent?.type)) ctx.request.headers["X-Live"] = "1";
});

// What ends soon counts down, and then asks what has become of it.
setInterval(() => {
  for (const word of document.querySelectorAll("[data-until] .st")) {
    const shown = /(\d+):(\d\d)/.exec(word.lastChild.data ?? "");
    if (!shown) continue;
    const left = Number(shown[1]) * 60 + Number(shown[2]) - 1;
    if (left < 0) continue;
    word.lastChild.data = word.lastChild.data.replace(shown[0], `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
    if (!left) body.dispatchEvent(new Event("pool"));
  }
}, 1000);

// A page that shows something once asks before it is left.
let leaving = document.querySelector("[data-ask-before-leaving]");
addEventListener("beforeunload", (event) => { if (leaving?.isConnected) event.preventDefault(); });

// The keyboard. Not inside fields, and not where somebody has switched it off.
let first = "";
const rows = () => [...document.querySelectorAll("tbody tr[data-open]")];

function walk(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.hasAttribute("data-at"));
  const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
  all[at]?.removeAttribute("data-at");
  next.setAttribute("data-at", "");
  next.scrollIntoView({ block: "nearest" });
  next.querySelector("a, button")?.focus({ preventScroll: true });
}

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `theme=${root.dataset.theme}; ${year}`;
}

const deeds = {
  "/": () => document.querySelector("input[type=search]")?.focus(),
  n: () => document.querySelector("[data-new]")?.click(),
  j: () => walk(1),
  k: () => walk(-1),
  x: () => document.querySelector("tr[data-at] input[type=checkbox]")?.click(),
  t: switchTheme,
  "?": () => document.getElementById("help")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (root.dataset.shortcuts === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog[open]")) return;
  const key = event.key;
  if (first === "g") {
    document.querySelector(`[data-go="${CSS.escape(key)}"]`)?.click();
    first = "";
  } else if (key === "g") {
    first = "g";
    setTimeout(() => { first = ""; }, 1200);
  } else if (/^[1-5]$/.test(key)) {
    document.querySelectorAll("[data-periods] a")[Number(key) - 1]?.click();
  } else if (Object.hasOwn(deeds, key)) {
    event.preventDefault();
    deeds[key]();
  }
});

// A toast from before goes by itself; a part that htmx has brought is read like the page.
for (const line of document.querySelectorAll("#told .toast")) setTimeout(() => line.remove(), 8000);
document.addEventListener("htmx:after:swap", (event) => localTimes(event.target ?? document));
localTimes(document);

export { tell };
