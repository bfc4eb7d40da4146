// The large plot of the usage page, to be hovered and dragged. Without it the page has the server's own plot.

const place = document.getElementById("plot");
const island = document.getElementById("series");
const root = document.documentElement;
const zone = root.dataset.zone === "local" ? undefined : "UTC";
const height = 280;

function text(value, show) {
  if (value === null || value === undefined) return "—";
  if (show === "usd") return "$" + (value / 1e9).toLocaleString("en", { maximumSignificantDigits: 4 });
  if (show === "span") return value < 1000 ? Number(value.toPrecision(3)) + " ms" : (value / 1000).toFixed(2) + " s";
  return value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

const day = new Intl.DateTimeFormat(root.lang, { month: "short", day: "numeric", timeZone: zone });
const clock = new Intl.DateTimeFormat(root.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone });

function axisTime(seconds, step) {
  const at = seconds * 1000;
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

const faded = (tone) => `color-mix(in srgb, ${tone} 13%, transparent)`;
const isDashed = (one) => one.tone.endsWith(" dash");

// The tallest is drawn first, so that the others stand before it.
function stacked(series) {
  const sums = [];
  return series.map((one) => one.values.map((value, at) => (sums[at] = (sums[at] ?? 0) + (value ?? 0)))).reverse();
}

function drawn(one, at, data) {
  const stroke = colour(one.tone.replace(" dash", ""));
  const found = { label: one.name, stroke, value: (chart, _, place, index) => text(index === null ? null : one.values[index], data.show) };
  if (data.kind === "bars") return { ...found, fill: stroke, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.86, 200], align: 1 }) };
  if (isDashed(one)) found.dash = [4, 3];
  else if (data.kind === "line" && !at && data.series.slice(1).every(isDashed)) found.fill = faded(stroke);
  return { ...found, width: 1.5, points: { show: data.starts.length < 3 } };
}

function zoomed(chart) {
  if (chart.select.width < 8) return;
  const instant = (left) => new Date(chart.posToVal(left, "x") * 1000).toISOString().slice(0, 16);
  const [since, until] = [instant(chart.select.left), instant(chart.select.left + chart.select.width)];
  if (since === until) return;
  const address = new URL(place.dataset.zoom, location);
  address.searchParams.set("period", `${since}..${until}`);
  location.assign(address);
}

function options(data) {
  const bars = data.kind === "bars";
  const series = bars ? [...data.series].reverse() : data.series;
  const line = { stroke: colour("c-line"), width: 1 };
  const axis = { stroke: colour("soft"), grid: line, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: place.clientWidth - 16 /* .uplot's padding */,
    height,
    padding: [null, 24, null, null],
    tzDate: (seconds) => (zone ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
    scales: { x: { range: () => [data.starts[0], bars ? data.until : data.starts.at(-1)] }, y: { range: (_, low, high) => [0, (high || 1) * 1.05] } },
    series: [
      { label: place.dataset.time, value: (_, value) => (value === null ? "—" : `${day.format(value * 1000)} ${clock.format(value * 1000)}`) },
      ...series.map((one, at) => drawn(one, at, data)),
    ],
    bands: data.kind === "band" ? [{ series: [1, 2], fill: faded(colour(series[0].tone)) }] : [],
    axes: [
      { ...axis, grid: { show: false }, values: (_, ticks, at, space, step) => ticks.map((tick) => axisTime(tick, step)) },
      { ...axis, size: 58, values: (_, ticks) => ticks.map((tick) => text(tick, data.show)) },
    ],
    cursor: { drag: { x: true, y: false, setScale: false } },
    hooks: { setSelect: [zoomed] },
  };
}

function draw(data) {
  let plot;
  const redraw = () => {
    plot?.destroy();
    plot = new uPlot(options(data), [data.starts, ...(data.kind === "bars" ? stacked(data.series) : data.series.map((one) => one.values))], place);
  };
  redraw();
  addEventListener("resize", () => plot.setSize({ width: place.clientWidth - 16, height }));
  // Colours are painted: another theme is another picture.
  new MutationObserver(redraw).observe(root, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

// One moment is no line: there the server's plot says as much.
const data = island && JSON.parse(island.textContent);
if (data?.starts.length > 1 && globalThis.uPlot) draw(data);
