// The large plot of the usage page, to be hovered and dragged. Without it the page has the same plot, drawn by the server.

const place = document.getElementById("plot");
const island = document.getElementById("series");

function text(value, shown) {
  if (value === null || value === undefined) return "—";
  if (shown === "usd") return "$" + (value / 1e9).toLocaleString("en", { maximumSignificantDigits: 4 });
  if (shown === "span") return value < 1000 ? Math.round(value) + " ms" : (value / 1000).toFixed(2) + " s";
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

function instant(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 16);
}

function colour(name) {
  // Tokens are light-dark(): the browser resolves them on an element.
  const probe = document.createElement("i");
  probe.className = name;
  place.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function draw(data) {
  const tones = ["c-ac", "ok", "warn", "bad", "soft", "c-ink"];
  const named = data.lines.map((line) => ({ ...line, name: line.name || document.querySelector("h1").textContent }));
  const series = named.map((line, at) => ({
    label: line.name, stroke: colour(tones[at % tones.length]), width: 1.5, value: (_, value) => text(value, data.shown),
  }));
  const values = named.map((line) => line.values);
  if (data.before.length === data.starts.length) {
    series.push({ label: "−1", stroke: colour("soft"), width: 1, dash: [4, 4], value: (_, value) => text(value, data.shown) });
    values.push(data.before);
  }
  const grid = { stroke: colour("c-line"), width: 1 };
  const axis = { stroke: colour("soft"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
  const plot = new uPlot({
    width: place.clientWidth - 32,
    height: 240,
    tzDate: (seconds) => (document.documentElement.dataset.zone === "local" ? new Date(seconds * 1e3) : uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC")),
    series: [{}, ...series],
    axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => text(tick, data.shown)) }],
    hooks: {
      setSelect: [(chart) => {
        if (chart.select.width < 8) return;
        const since = chart.posToVal(chart.select.left, "x");
        const until = chart.posToVal(chart.select.left + chart.select.width, "x");
        const address = new URL(place.dataset.zoom, location.href);
        address.searchParams.set("period", `${instant(since)}..${instant(until)}`);
        location.assign(address);
      }],
    },
    cursor: { drag: { x: true, y: false, setScale: false } },
  }, [data.starts, ...values], place);
  addEventListener("resize", () => plot.setSize({ width: place.clientWidth - 32, height: 240 }));
}

if (place && island && window.uPlot) {
  for (const drawn of place.children) drawn.hidden = true;
  draw(JSON.parse(island.textContent));
}
