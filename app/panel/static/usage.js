// The large plot of the usage page, to be hovered and dragged. Without it the page has the same plot, drawn by the server.

const place = document.getElementById("plot");
const island = document.getElementById("series");
const root = document.documentElement;
const zone = root.dataset.zone === "local" ? undefined : "UTC";
const HEIGHT = 280;
const BELOW = 24;

function text(value, show) {
  if (value === null || value === undefined) return "—";
  if (show === "usd") return "$" + (value / 1e9).toLocaleString("en", { maximumSignificantDigits: 4 });
  if (show === "span") return value < 1000 ? Number(value.toPrecision(3)) + " ms" : (value / 1000).toFixed(2) + " s";
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

const day = new Intl.DateTimeFormat(root.lang, { month: "short", day: "numeric", timeZone: zone });
const clock = new Intl.DateTimeFormat(root.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone });
const whole = new Intl.DateTimeFormat(root.lang, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone });

function axisTime(seconds, step) {
  const at = new Date(seconds * 1000);
  const shown = clock.format(at);
  return step >= 86400 || shown === "00:00" ? day.format(at) : shown;
}

// Tokens are light-dark(): the browser resolves them on an element.
function colour(name) {
  const probe = document.createElement("i");
  probe.className = name;
  place.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function faded(tone) {
  return `color-mix(in srgb, ${tone} 13%, transparent)`;
}

function stacked(series) {
  const sums = [];
  const found = series.map((one) => one.values.map((value, at) => (sums[at] = (sums[at] ?? 0) + (value ?? 0))));
  // The tallest is drawn first, so that the others stand before it.
  return found.reverse();
}

function lineOf(one, at, data) {
  const stroke = colour(one.tone.replace(" dash", ""));
  const dash = one.tone.includes("dash");
  const found = {
    label: one.name, stroke, width: dash ? 1.2 : 1.6, dash: dash ? [4, 3] : undefined, points: { show: data.starts.length < 3 },
    value: (_, value) => text(value, data.show),
  };
  if (data.kind === "line" && at === 0 && data.series.every((other, place) => !place || other.tone.includes("dash"))) found.fill = faded(stroke);
  return found;
}

function barOf(one, data) {
  const fill = colour(one.tone);
  return {
    label: one.name, stroke: fill, fill, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.86, 200], align: 1 }),
    value: (_, value, at, index) => (index === null ? "—" : text(one.values[index], data.show)),
  };
}

function zoomed(chart) {
  if (chart.select.width < 8) return;
  const instant = (left) => new Date(chart.posToVal(left, "x") * 1000).toISOString().slice(0, 16);
  const [since, until] = [instant(chart.select.left), instant(chart.select.left + chart.select.width)];
  if (since === until) return;
  const address = new URL(place.dataset.zoom, location.href);
  address.searchParams.set("period", `${since}..${until}`);
  location.assign(address);
}

function options(data) {
  const bars = data.kind === "bars";
  const ordered = bars ? [...data.series].reverse() : data.series;
  const grid = { stroke: colour("c-line"), width: 1 };
  const axis = { stroke: colour("soft"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: place.clientWidth,
    height: HEIGHT,
    tzDate: (seconds) => (zone ? uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC") : new Date(seconds * 1e3)),
    scales: { x: { range: () => [data.starts[0], bars ? data.until : data.starts.at(-1)] }, y: { range: (_, low, high) => [0, (high || 1) * 1.05] } },
    series: [
      { label: place.dataset.time, value: (_, value) => (value === null ? "—" : whole.format(new Date(value * 1000))) },
      ...ordered.map((one, at) => (bars ? barOf(one, data) : lineOf(one, at, data))),
    ],
    bands: data.kind === "band" ? [{ series: [1, 2], fill: faded(colour(data.series[0].tone)) }] : undefined,
    axes: [
      { ...axis, grid: { show: false }, values: (_, ticks, at, space, step) => ticks.map((tick) => axisTime(tick, step)) },
      { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => text(tick, data.show)) },
    ],
    cursor: { drag: { x: true, y: false, setScale: false } },
    hooks: { setSelect: [zoomed] },
  };
}

function draw(data) {
  const values = data.kind === "bars" ? stacked(data.series) : data.series.map((one) => one.values);
  let plot = null;
  const redraw = () => {
    plot?.destroy();
    plot = new uPlot(options(data), [data.starts, ...values], place);
  };
  redraw();
  addEventListener("resize", () => plot.setSize({ width: place.clientWidth, height: HEIGHT }));
  // Colours are painted: another theme is another picture.
  new MutationObserver(redraw).observe(root, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

if (place && island && globalThis.uPlot) {
  const data = JSON.parse(island.textContent);
  // One moment is no line: there the server's plot says as much.
  if (data.starts.length > 1 && place.clientWidth > BELOW) draw(data);
}
