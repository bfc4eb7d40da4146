// Sends the form and shows the answer as it comes. Without it the form works too, and the answer comes whole.

const form = document.getElementById("play");
const place = document.getElementById("answer");
const said = document.getElementById("said");
const raw = document.getElementById("raw");
const head = document.getElementById("head");
const facts = document.getElementById("facts");
const cancel = document.getElementById("cancel");
const life = document.getElementById("life");
const views = document.getElementById("views");
let running = null;

function show(name) {
  for (const one of [said, raw, head]) one.hidden = one.id !== name;
  for (const link of views.children) link.toggleAttribute("aria-current", link.dataset.view === name);
  views.querySelector(`[data-view=${name}]`).setAttribute("aria-current", "true");
}

views.addEventListener("click", (event) => {
  const link = event.target.closest("[data-view]");
  if (!link) return;
  event.preventDefault();
  show(link.dataset.view);
});

function picture(beganMs, firstMs) {
  // The longest bar is ten seconds, or all there is.
  const now = performance.now() - beganMs;
  const scale = 600 / Math.max(10_000, now);
  const first = firstMs ? firstMs - beganMs : now;
  document.getElementById("wait").setAttribute("width", first * scale);
  document.getElementById("flow").setAttribute("x", first * scale);
  document.getElementById("flow").setAttribute("width", firstMs ? (now - first) * scale : 0);
}

function words(event) {
  const delta = event.choices?.[0]?.delta ?? event.choices?.[0]?.message;
  return (delta?.reasoning ?? "") + (delta?.content ?? "");
}

async function send() {
  const data = new URLSearchParams(new FormData(form));
  const streamed = data.has("stream");
  said.textContent = raw.textContent = head.textContent = "";
  facts.textContent = "…";
  views.hidden = life.hidden = false;
  show("said");
  running = new AbortController();
  cancel.hidden = false;
  const began = performance.now();
  let first = 0;
  let usage = null;
  const tick = setInterval(() => picture(began, first), 50);
  try {
    const answer = await fetch("/admin/playground/run", { method: "POST", body: data, signal: running.signal });
    head.textContent = `${answer.status}\n` + [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      raw.textContent += value;
      if (!streamed || !answer.ok) continue;
      rest += value;
      const lines = rest.split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
        const event = JSON.parse(line.slice(6));
        const text = words(event);
        if (text && !first) first = performance.now();
        said.textContent += event.error ? event.error.message : text;
        usage = event.usage ?? usage;
      }
    }
    if (!streamed || !answer.ok) {
      const whole = JSON.parse(raw.textContent);
      said.textContent = whole.error ? whole.error.message : words(whole);
      usage = whole.usage ?? usage;
    }
    const seconds = (performance.now() - began) / 1000;
    const spent = usage ? ` · ${usage.prompt_tokens} → ${usage.completion_tokens} · $${Number(usage.cost ?? 0).toPrecision(3)} · ${(usage.completion_tokens / seconds).toFixed(1)} tok/s` : "";
    facts.textContent = `${answer.status} · ${seconds.toFixed(2)} s${spent}`;
  } catch (error) {
    facts.textContent = error.name === "AbortError" ? "499" : String(error.message);
  } finally {
    clearInterval(tick);
    picture(began, first);
    cancel.hidden = true;
    running = null;
  }
}

function code(kind) {
  const data = new FormData(form);
  const messages = [];
  if (data.get("system").trim()) messages.push({ role: "system", content: data.get("system") });
  messages.push({ role: "user", content: data.get("message") });
  const body = { model: data.get("model"), messages };
  if (data.get("temperature")) body.temperature = Number(data.get("temperature"));
  if (data.get("max_tokens")) body.max_tokens = Number(data.get("max_tokens"));
  if (data.get("tools").trim()) body.tools = JSON.parse(data.get("tools"));
  const text = JSON.stringify(body, null, 2);
  const base = place.dataset.base;
  if (kind === "curl") return `curl ${base}/chat/completions -H "Authorization: Bearer $GATEWAY_KEY" -H "Content-Type: application/json" -d '${text.replaceAll("'", "'\\''")}'`;
  if (kind === "python") return `import json, os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key=os.environ["GATEWAY_KEY"])\nbody = json.loads(r'''${text}''')\nprint(client.chat.completions.create(**body).choices[0].message.content)`;
  return `const answer = await fetch("${base}/chat/completions", {\n  method: "POST",\n  headers: { authorization: "Bearer " + process.env.GATEWAY_KEY, "content-type": "application/json" },\n  body: JSON.stringify(${text}),\n});\nconsole.log(await answer.json());`;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) send();
});
cancel.addEventListener("click", () => running?.abort());
for (const button of document.querySelectorAll("[data-code]")) {
  button.hidden = false;
  // Before the panel's own script copies it.
  button.addEventListener("click", () => { button.dataset.copy = code(button.dataset.code); }, { capture: true });
}
