// Sends the form and shows the call as it happens, line by line. Without it the form works too, and the answer is whole.

const at = (id) => document.getElementById(id);
const form = at("play");
const words = at("words").dataset;
const SVG = "http://www.w3.org/2000/svg";
let running = null;

const span = (ms) => (ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`);
const dollars = (usd) => `$${usd ? usd.toPrecision(2) : 0}`;

function state(tone, sign, text) {
  const mark = document.createElement("span");
  mark.ariaHidden = "true";
  mark.textContent = sign;
  const word = document.createElement("span");
  word.className = `st ${tone}`;
  word.append(mark, text);
  at("state").replaceChildren(word);
}

function model() {
  const found = [...at("models").options].find((option) => option.value === at("model").value);
  if (found) at("model-told").textContent = found.textContent;
  return { prompt: Number(found?.dataset.prompt || 0), completion: Number(found?.dataset.completion || 0) };
}

// The way of the call: one bar for each key asked, growing while it is asked, and again while its answer flows.
function drawnWay() {
  const box = document.createElement("div");
  box.className = "waterfall";
  box.role = "img";
  at("way").replaceChildren(box);
  at("way").hidden = false;
  const bars = [];
  const shape = (svg, tone) => {
    const rect = svg.appendChild(document.createElementNS(SVG, "rect"));
    rect.setAttribute("height", "12");
    rect.setAttribute("class", `f-${tone}`);
    return rect;
  };
  return {
    bars,
    add(name, from) {
      const who = box.appendChild(document.createElement("span"));
      who.className = "who";
      who.textContent = name;
      const svg = box.appendChild(document.createElementNS(SVG, "svg"));
      svg.setAttribute("viewBox", "0 0 1000 12");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("aria-hidden", "true");
      const what = box.appendChild(document.createElement("span"));
      what.className = "what";
      what.textContent = words.asks;
      const bar = { from, to: null, flows: null, what, wait: shape(svg, "idle"), flow: shape(svg, "ac") };
      bars.push(bar);
      return bar;
    },
    draw(now) {
      const scale = 1000 / Math.max(now, 1);
      const place = (rect, from, to) => {
        rect.setAttribute("x", (from * scale).toFixed(1));
        rect.setAttribute("width", Math.max(0, (to - from) * scale).toFixed(1));
      };
      for (const bar of bars) {
        place(bar.wait, bar.from, bar.to ?? now);
        place(bar.flow, bar.flows ?? 0, bar.flows === null ? 0 : now);
      }
    },
  };
}

class Run {
  constructor(streams) {
    Object.assign(this, { streams, began: performance.now(), ended: 0, said: "", raw: "", rest: "", paces: [], marked: 0, first: 0 });
    this.way = drawnWay();
    this.price = model();
    this.asked = [...form.querySelectorAll("textarea")].reduce((sum, area) => sum + (area.name === "answered" ? 0 : area.value.length), 0) / 4;
  }

  get now() { return (this.ended || performance.now()) - this.began; }

  hear(event) {
    const { bars } = this.way;
    switch (event.is) {
      case "call":
        at("entry").href = `/admin/requests/${event.id}`;
        break;
      case "key":
        bars[event.number] ??= this.way.add(event.name, event.at);
        break;
      case "try": {
        const bar = bars[event.number] ?? this.way.add(event.name, Math.max(0, event.at - event.took));
        bar.to = bar.from + event.took;
        bar.what.textContent = `${event.result} ${words.after} ${span(event.took)}`;
        if (/^2/.test(event.result)) bar.flows = bar.to;
        else bar.wait.setAttribute("class", "f-warn");
        break;
      }
      case "head":
        at("head").textContent = `${event.status}\n${event.headers.map((pair) => pair.join(": ")).join("\n")}`;
        this.status = event.status;
        break;
      case "piece":
        this.read(event.text);
        break;
      case "error":
        this.fail(event.text, event.hint);
        at("head").textContent ||= String(event.status);
        break;
      case "wrong":
        this.wrong = true;
        wrong(event.errors);
        at("state").replaceChildren();
        break;
      case "end":
        this.end = event;
    }
  }

  read(text) {
    this.raw += text;
    at("raw").append(text);
    if (!this.streams || this.status >= 400) return;
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") this.event(line.slice(6));
    }
  }

  event(text) {
    let found;
    try { found = JSON.parse(text); } catch { return; }
    if (found.error) this.fail(found.error.message ?? "");
    const delta = found.choices?.[0]?.delta ?? found.choices?.[0]?.message ?? {};
    if (delta.reasoning) {
      const thought = document.createElement("span");
      thought.className = "soft";
      thought.textContent = delta.reasoning;
      at("said").append(thought);
    }
    let piece = delta.content ?? "";
    for (const { function: made } of delta.tool_calls ?? []) piece += made?.name ? `\n${made.name}(${made.arguments ?? ""}` : made?.arguments ?? "";
    if (!piece && !delta.reasoning) return;
    this.first ||= this.now;
    this.heard = (this.heard ?? 0) + (piece.length + (delta.reasoning?.length ?? 0)) / 4;
    this.said += piece;
    at("said").append(piece);
  }

  fail(text, hint = "") {
    at("failed").textContent = `${text} ${hint}`.trim();
    at("failed").hidden = false;
    this.failed = true;
  }

  show() {
    const { now } = this;
    this.way.draw(now);
    at("time").textContent = span(now);
    const { end } = this;
    const out = end?.output || this.heard || 0;
    const flowing = (now - (this.first || now)) / 1000;
    at("tokens").textContent = `${end?.input || `${words.about} ${Math.round(this.asked)}`} → ${end?.output || (out ? `${words.about} ${Math.round(out)}` : 0)} ${words.tokens}`;
    at("cost").textContent = end ? end.cost : `${words.about} ${dollars(this.asked * this.price.prompt + out * this.price.completion)}`;
    at("speed").textContent = flowing > 0.2 ? `${(out / flowing).toFixed(1)} ${words.perS}` : "";
    if (!this.ended && this.first && now - this.marked >= 250) {
      this.paces.push(out - (this.counted ?? 0));
      this.counted = out;
      this.marked = now;
    }
    const most = Math.max(...this.paces, 1);
    at("pace").toggleAttribute("hidden", this.paces.length < 2);
    at("pace").firstElementChild.setAttribute("points", this.paces.map((pace, place) => `${(2 + 68 * place / Math.max(1, this.paces.length - 1)).toFixed(1)},${(16 - 14 * pace / most).toFixed(1)}`).join(" "));
  }

  stop(cancelled) {
    this.ended = performance.now();
    for (const bar of this.way.bars) bar.to ??= this.now;
    if (!this.streams && !cancelled && this.raw) this.event(this.raw);
    this.show();
    const last = this.way.bars.at(-1);
    if (last?.flows != null && this.first) last.what.textContent = `${words.first} ${span(this.first)}, ${span(this.now)}`;
    if (cancelled) state("idle", "◌", words.cancelled);
    else if (this.end) {
      const bad = this.end.status >= 400 || this.failed;
      state(bad ? "bad" : this.end.outcome === "rescued" ? "warn" : "ok", bad ? "✕" : "●", `${this.end.status} ${this.end.outcome}`);
    }
    at("answered").value = this.said;
    at("next").hidden = !this.said;
    at("entry").hidden = at("sums").hidden = at("way").hidden = Boolean(this.wrong);
  }
}

function wrong(errors) {
  for (const field of form.elements) if (field.name) field.removeAttribute("aria-invalid");
  for (const name of Object.keys(errors)) form.querySelector(`[name="${name}"], [name^="${name}."]`)?.setAttribute("aria-invalid", "true");
  at("wrong").textContent = Object.values(errors).join(" ");
  at("wrong").hidden = !Object.keys(errors).length;
}

async function* lines(body) {
  let rest = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    yield* found;
  }
}

async function send() {
  const data = new URLSearchParams(new FormData(form));
  running = new AbortController();
  for (const id of ["said", "raw", "head"]) at(id).replaceChildren();
  for (const id of ["failed", "next", "entry"]) at(id).hidden = true;
  at("nothing")?.remove();
  at("sums").hidden = at("cancel").hidden = false;
  at("send").disabled = true;
  wrong({});
  state("idle", "◌", words.running);
  const run = new Run(data.has("stream"));
  const tick = setInterval(() => run.show(), 60);
  try {
    const answer = await fetch("/admin/playground/run", { method: "POST", body: data, signal: running.signal });
    if (answer.redirected || !answer.ok) run.fail(words.gone);
    else for await (const line of lines(answer.body)) run.hear(JSON.parse(line));
    if (answer.ok && !run.end && !run.wrong) run.fail(words.lost);
  } catch (error) {
    if (!running.signal.aborted) run.fail(words.lost);
  } finally {
    clearInterval(tick);
    run.stop(running.signal.aborted);
    at("send").disabled = false;
    at("cancel").hidden = true;
    running = null;
  }
}

async function showCode() {
  const answer = await fetch("/admin/playground/code", { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { accept: "application/json" } });
  const { code, errors } = await answer.json();
  wrong(errors ?? {});
  if (!code) return;
  at("codes").replaceChildren(...Object.entries(code).map(([name, text]) => {
    const made = at("code-form").content.cloneNode(true);
    made.querySelector("b").textContent = name;
    made.querySelector("button").dataset.copy = made.querySelector("pre").textContent = text;
    made.querySelector("pre").ariaLabel = name;
    return made;
  }));
  at("code").hidden = false;
  at("code").scrollIntoView({ block: "nearest" });
}

form.addEventListener("submit", (event) => {
  if (event.submitter?.name === "more") return;
  event.preventDefault();
  if (event.submitter?.hasAttribute("data-code")) showCode();
  else if (!running) send();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.reportValidity()) at("send").click();
});
at("cancel").addEventListener("click", () => running?.abort());
at("model").addEventListener("input", model);
