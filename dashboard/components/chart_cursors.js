// This file knows the cursors of a chart: single, harmonics, sidebands, distance; how they snap to peaks and what they say.

const MODES = {
  spectrum: ["single", "harmonics", "sidebands"], waterfall: ["single", "harmonics", "sidebands"],
  waveform: ["single", "distance"], trend: ["single"],
};
const MOST_HARMONICS = 10, SIDEBAND_PAIRS = 5, TOLD_HARMONICS = 5;

const named = ({ cursor, k, off }) => `${k > 1 ? `${k}× ` : ""}${cursor.label} ${percent(off)}`;

class Cursors {
  constructor(chart) {
    this.chart = chart;
    this.mode = "single";
    this.anchors = [];
    this.order = 1;
    this.bar = document.createElement("span");
    this.bar.className = "modes";
    this.bar.setAttribute("role", "group");
  }

  take() {
    const modes = MODES[this.chart.data.kind];
    if (!modes.includes(this.mode)) this.choose("single");
    this.bar.setAttribute("aria-label", this.chart.said("cursor"));
    this.bar.hidden = modes.length < 2;
    this.bar.replaceChildren(...modes.map((mode) => {
      const made = this.chart.button(this.chart.said(mode), this.chart.said(`${mode}_help`), () => {
        this.choose(mode);
        this.chart.remember();
      });
      made.dataset.mode = mode;
      return made;
    }));
    this.press();
  }

  choose(mode) {
    this.mode = mode;
    this.anchors = [];
    this.order = 1;
    this.press();
  }

  press() {
    for (const button of this.bar.children) button.setAttribute("aria-pressed", String(button.dataset.mode === this.mode));
  }

  // A click or Enter: fixes what the mode needs; once it has everything, the next one begins anew.
  fix() {
    const found = this.nearest();
    if (!found || this.mode === "single") return;
    const needed = this.mode === "harmonics" ? 1 : 2;
    if (this.anchors.length >= needed) this.anchors = [];
    this.anchors.push(found.x);
    this.chart.remember();
  }

  // Escape gives up what is fixed; tells whether there was anything.
  release() {
    if (this.anchors.length === 0) return false;
    this.anchors = [];
    this.chart.remember();
    return true;
  }

  main() {
    const chart = this.chart;
    if (chart.data.kind === "waterfall") return chart.lines[Math.min(chart.lines.length - 1, Math.max(0, chart.atRow ?? 0))];
    return chart.painted().find((line) => line.role === "main");
  }

  nearest(at = this.chart.at) {
    const chart = this.chart, line = this.main();
    if (!line || at === null) return null;
    const [first, last] = chart.bounds(line);
    const [low, high] = chart.span();
    const reach = ((high - low) / Math.max(100, chart.width - 70)) * 4;
    const timed = chart.data.kind === "trend", size = chart.data.kind === "waveform" ? Math.abs : (v) => v;
    let best = -1, score = Infinity;
    for (let i = first; i < last; i++) {
      const value = line.y[i], far = Math.abs(chart.xOf(line, i) - at);
      if (!(value === value)) continue;
      const rank = timed ? far : far <= reach ? -size(value) : far / reach + 1e9;
      if (rank < score) { score = rank; best = i; }
    }
    if (best < 0) return null;
    const x = chart.xOf(line, best);
    const peak = chart.data.kind === "spectrum" && chart.data.peaks.find((p) => Math.abs(p.hz - x) <= chart.data.step);
    return { x: peak ? peak.hz : x, y: line.y[best], line };
  }

  valueAt(hz) {
    const line = this.main(), d = this.chart.data;
    let most = NaN;
    const middle = Math.round((hz - d.start) / d.step);
    for (let i = Math.max(0, middle - 1); i <= Math.min(line.y.length - 1, middle + 1); i++) {
      if (!(line.y[i] <= most)) most = line.y[i];
    }
    return most;
  }

  fundamental() {
    const at = this.anchors[0] ?? this.nearest()?.x;
    return at === undefined ? null : at / this.order;
  }

  // Carrier, spacing of sidebands; or start and distance in a waveform.
  pair() {
    const found = this.nearest();
    const first = this.anchors[0] ?? found?.x;
    const second = this.anchors[1] ?? (this.anchors.length ? found?.x : undefined);
    if (first === undefined) return null;
    return [first, second === undefined ? null : Math.abs(second - first)];
  }

  nextPeak(direction) {
    const chart = this.chart;
    const [low, high] = chart.span();
    const from = chart.at ?? (direction > 0 ? low : high);
    const places = chart.data.peaks.map((peak) => peak.hz).sort((a, b) => a - b);
    const next = direction > 0 ? places.find((hz) => hz > from + chart.data.step) : places.findLast((hz) => hz < from - chart.data.step);
    if (next === undefined) return;
    chart.at = next;
    if (next < low || next > high) chart.setView(next - (high - low) / 2, next + (high - low) / 2);
    else chart.plan();
  }

  lines() {
    if (this.mode === "harmonics") {
      const base = this.fundamental();
      return base > 0 ? Array.from({ length: MOST_HARMONICS }, (_, k) => ({ x: base * (k + 1), text: `${k + 1}` })) : [];
    }
    const pair = this.mode === "single" ? null : this.pair();
    if (!pair) return [];
    const [first, apart] = pair;
    if (this.mode === "distance") return [{ x: first, text: "A" }, ...(apart === null ? [] : [{ x: this.anchors[1] ?? this.nearest().x, text: "B" }])];
    const made = [{ x: first, text: this.chart.said("carrier") }];
    if (apart > 0) for (let n = 1; n <= SIDEBAND_PAIRS; n++) made.push({ x: first - n * apart, text: `−${n}` }, { x: first + n * apart, text: `+${n}` });
    return made;
  }

  paint(g, ink) {
    const chart = this.chart;
    const [left, right] = [MARGIN.left, chart.width - MARGIN.right];
    const [top, bottom] = [MARGIN.top, chart.height - MARGIN.bottom];
    if (chart.drag && Math.abs(chart.drag[1] - chart.drag[0]) > 6) {
      const [a, b] = [...chart.drag].sort((p, q) => p - q);
      g.fillStyle = ink.cursor;
      g.globalAlpha = 0.18;
      g.fillRect(a, top, b - a, bottom - top);
      g.globalAlpha = 1;
    }
    for (const { x: at, text } of this.lines()) {
      const x = chart.toPx(at);
      if (x < left || x > right) continue;
      g.strokeStyle = ink.text;
      g.fillStyle = ink.text;
      g.globalAlpha = 0.7;
      g.setLineDash([4, 3]);
      g.beginPath();
      g.moveTo(x, top + 12);
      g.lineTo(x, bottom);
      g.stroke();
      g.setLineDash([]);
      g.globalAlpha = 1;
      g.textAlign = "center";
      g.textBaseline = "top";
      g.fillText(text, x, top);
    }
    const found = this.nearest();
    if (!found) { chart.readout.textContent = chart.told ?? chart.data.hint; return; }
    const x = chart.toPx(found.x), row = Math.max(0, chart.atRow ?? 0);
    const y = chart.data.kind === "waterfall" ? chart.toY(row + 0.5) : chart.toY(found.y);
    if (x >= left - 1 && x <= right + 1) {
      g.strokeStyle = ink.text;
      g.globalAlpha = 0.6;
      g.beginPath();
      g.moveTo(x, top);
      g.lineTo(x, bottom);
      g.stroke();
      g.globalAlpha = 1;
      g.beginPath();
      g.arc(x, y, 4, 0, 7);
      g.fillStyle = ink.ground;
      g.fill();
      g.strokeStyle = ink.text;
      g.lineWidth = 2;
      g.stroke();
      g.lineWidth = 1;
    }
    chart.readout.textContent = chart.told ?? this.say(found);
  }

  say(found) {
    const chart = this.chart, unit = chart.unitName();
    const value = `${show(found.y)} ${unit}`.trim();
    if (chart.data.kind === "trend") {
      const gap = chart.data.gaps.find(([from, to]) => chart.at > from && chart.at < to);
      if (gap) return filled(chart.said("no_data"), { from: momentText(gap[0]), to: momentText(gap[1]) });
      return `${momentText(found.x)} · ${value}`;
    }
    if (chart.data.kind === "waveform") {
      const parts = [`${show(1e3 * found.x, 5)} ms`, value];
      const apart = this.mode === "distance" ? this.pair()?.[1] : null;
      if (apart > 0) parts.push(`A–B ${show(1e3 * apart, 4)} ms = ${this.hertz(1 / apart)}`);
      return parts.join(" · ");
    }
    if (this.mode === "harmonics") {
      const base = this.fundamental();
      const heights = Array.from({ length: TOLD_HARMONICS }, (_, k) => `${k + 1}× ${show(this.valueAt((k + 1) * base))}`);
      return `${this.hertz(base)} · ${heights.join(" · ")} ${unit}${this.match(base)}`;
    }
    if (this.mode === "sidebands") {
      const [carrier, apart] = this.pair();
      if (!(apart > 0)) return `${chart.said("carrier")} ${this.hertz(carrier)} · ${chart.said("second")}`;
      const heights = [-2, -1, 0, 1, 2].map((n) => `${n > 0 ? "+" : ""}${n}: ${show(this.valueAt(carrier + n * apart))}`);
      return `${chart.said("carrier")} ${this.hertz(carrier)} · ${chart.said("spacing")} ${this.hertz(apart)}${this.match(apart)} · ${heights.join(" · ")} ${unit}`;
    }
    const row = chart.data.kind === "waterfall" ? [found.line.name_long] : [];
    return [...row, this.hertz(found.x), value].join(" · ") + this.match(found.x);
  }

  hertz(hz) {
    const shaft = this.chart.data.shaft_hz;
    return `${show(hz, 4)} Hz${shaft ? ` · ${show(hz / shaft, 4)} ${this.chart.said("orders")}` : ""}`;
  }

  // Which shown family a line belongs to, and how far it lies off: ` · 2× BPFO -1.1 %`.
  match(hz) {
    const parts = this.families(hz).filter((one) => one.shown && one.k <= one.cursor.harmonics).map(named);
    return parts.length ? ` · ${parts.join(" · ")}` : "";
  }

  // The one family a peak belongs to most likely: that which is shown, up to high harmonics, before the nearest other.
  likeliest(hz) {
    const found = this.families(hz).filter((one) => one.k <= (one.shown ? MOST_HARMONICS : one.cursor.harmonics));
    found.sort((one, other) => other.shown - one.shown || Math.abs(one.off) - Math.abs(other.off));
    return found.length ? named(found[0]) : "";
  }

  families(hz) {
    const found = [];
    for (const cursor of this.chart.data.cursors) {
      const k = Math.round(hz / cursor.hz);
      if (k < 1) continue;
      const off = hz / (k * cursor.hz) - 1;
      const near = Math.max(cursor.tolerance, this.chart.data.step / (k * cursor.hz));
      if (Math.abs(off) <= near) found.push({ cursor, k, off, shown: !this.chart.off.has(cursor.label) });
    }
    return found;
  }
}
