// This file knows how a chart is drawn and read: spectrum, envelope and trend, with cursors, limits, gaps and a zoom
// that outlives new data. One canvas, no library, nothing fetched. Text from outside is only ever drawn or set as text.

const MARGIN = { left: 58, right: 14, top: 34, bottom: 36 };
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2]];
const MINUTE = 60e3, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const TIME_STEPS = [1e3, 5e3, 15e3, 30e3, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR,
  12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY];

function decode(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

function niceStep(span, count) {
  const rough = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  for (const factor of [1, 2, 5, 10]) if (factor * power >= rough) return factor * power;
  return 10 * power;
}

function show(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(digits - 1);
  return value.toFixed(Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(size)))));
}

function tickText(value, step) {
  const places = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  return Math.abs(value) < step * 1e-6 ? "0" : value.toFixed(places);
}

function clockText(ms, step) {
  const at = new Date(ms);
  const pad = (n) => String(n).padStart(2, "0");
  if (step >= DAY) return `${pad(at.getDate())}.${pad(at.getMonth() + 1)}.`;
  if (step >= MINUTE) {
    const time = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
    return at.getHours() === 0 && at.getMinutes() === 0 ? `${pad(at.getDate())}.${pad(at.getMonth() + 1)}.` : time;
  }
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

class Chart {
  constructor(root) {
    this.root = root;
    this.frame = document.createElement("div");
    this.frame.className = "frame";
    this.head = document.createElement("div");
    this.head.className = "head";
    this.title = document.createElement("span");
    this.title.className = "title";
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.readout = document.createElement("div");
    this.readout.className = "readout";
    this.readout.setAttribute("aria-live", "polite");
    this.families = document.createElement("div");
    this.families.className = "families";
    this.ordersButton = this.button("Hz", "Frequency in Hz or in orders of the shaft (o)", () => this.toggleOrders());
    this.scaleButton = this.button("lin", "Linear or logarithmic height (l)", () => this.toggleScale());
    this.head.append(
      this.title, this.ordersButton, this.scaleButton,
      this.button("−", "Zoom out (-)", () => this.zoom(2)), this.button("+", "Zoom in (+)", () => this.zoom(0.5)),
      this.button("All", "Show all (0)", () => this.reset()),
    );
    this.frame.append(this.head, this.canvas, this.readout, this.families);
    root.append(this.frame);
    this.view = null;
    this.off = new Set();
    this.at = null;
    this.drag = null;
    this.touches = new Map();
    this.data = null;
    this.listen();
  }

  button(text, label, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.title = label;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  }

  listen() {
    const c = this.canvas;
    this.resized = new ResizeObserver(() => this.plan());
    this.resized.observe(this.frame);
    this.frame.addEventListener("transitionrun", () => this.plan());
    c.addEventListener("pointerdown", (e) => this.down(e));
    c.addEventListener("pointermove", (e) => this.move(e));
    c.addEventListener("pointerup", (e) => this.up(e));
    c.addEventListener("pointercancel", (e) => { this.touches.delete(e.pointerId); this.drag = null; this.plan(); });
    c.addEventListener("dblclick", () => this.reset());
    c.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && !e.shiftKey) return;
      e.preventDefault();
      this.zoom((e.deltaY || e.deltaX) > 0 ? 1.25 : 0.8, this.toX(e.offsetX));
    }, { passive: false });
    c.addEventListener("keydown", (e) => this.key(e));
  }

  take(data) {
    const changed = this.data === null || this.data.view_key !== data.view_key;
    const followed = this.data !== null && this.view !== null && this.view[1] >= this.full()[1];
    this.data = data;
    this.lines = data.lines.map((line) => ({
      ...line, y: decode(line.values, Float32Array), x: line.times ? decode(line.times, Float64Array) : null,
    }));
    if (changed) this.restore();
    else if (this.view !== null && followed && data.kind === "trend") {
      const move = this.full()[1] - this.view[1];
      this.view = [this.view[0] + move, this.view[1] + move];
    }
    this.title.textContent = data.title;
    this.ordersButton.hidden = !data.shaft_hz;
    this.scaleButton.hidden = data.kind === "trend";
    this.drawFamilies();
    this.plan();
  }

  restore() {
    this.view = this.firstView();
    this.at = null;
    this.orders = false;
    this.log = false;
    this.off = new Set(this.data.cursors.filter((c) => !c.shown).map((c) => c.label));
    try {
      const kept = JSON.parse(sessionStorage.getItem(`undertone:${this.data.view_key}`));
      if (!kept) return;
      this.view = kept.view;
      this.orders = kept.orders && Boolean(this.data.shaft_hz);
      this.log = kept.log;
      this.off = new Set(kept.off);
    } catch { /* a browser that keeps nothing shows everything */ }
  }

  firstView() {
    const opens = this.data.first_view;
    return opens && opens < this.full()[1] ? [this.full()[0], opens] : null;
  }

  remember() {
    const kept = { view: this.view, orders: this.orders, log: this.log, off: [...this.off] };
    try { sessionStorage.setItem(`undertone:${this.data.view_key}`, JSON.stringify(kept)); } catch { /* likewise */ }
    this.plan();
  }

  drawFamilies() {
    this.families.replaceChildren(...this.data.cursors.map((cursor, index) => {
      const made = this.button("", `Show or hide the lines of ${cursor.label}`, () => {
        if (!this.off.delete(cursor.label)) this.off.add(cursor.label);
        this.drawFamilies();
        this.remember();
      });
      made.setAttribute("aria-pressed", String(!this.off.has(cursor.label)));
      const dash = DASHES[index % DASHES.length].join(" ");
      const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      line.setAttribute("width", "22");
      line.setAttribute("height", "8");
      const stroke = document.createElementNS("http://www.w3.org/2000/svg", "path");
      stroke.setAttribute("d", "M0 4H22");
      stroke.setAttribute("stroke", "currentColor");
      stroke.setAttribute("stroke-width", "2");
      if (dash) stroke.setAttribute("stroke-dasharray", dash);
      line.append(stroke);
      made.append(line, `${cursor.label} ${show(cursor.hz, 4)} Hz`);
      return made;
    }));
  }

  full() {
    const d = this.data;
    if (d.kind !== "trend") return [d.start, d.start + d.step * Math.max(1, d.count - 1)];
    return d.range;
  }

  span() { return this.view ?? this.full(); }

  toX(px) {
    const [low, high] = this.span();
    return low + ((px - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right)) * (high - low);
  }

  toPx(x) {
    const [low, high] = this.span();
    return MARGIN.left + ((x - low) / (high - low)) * (this.width - MARGIN.left - MARGIN.right);
  }

  setView(low, high) {
    const [first, last] = this.full();
    const least = this.data.kind === "trend" ? 10e3 : this.data.step * 8;
    let size = Math.max(least, high - low);
    if (size >= last - first) { this.view = null; this.remember(); return; }
    let start = Math.max(first, low);
    if (start + size > last) start = last - size;
    this.view = [start, start + size];
    this.remember();
  }

  zoom(factor, around = null) {
    const [low, high] = this.span();
    const inside = this.at !== null && this.at >= low && this.at <= high;
    const centre = around ?? (inside ? this.at : (low + high) / 2);
    this.setView(centre - (centre - low) * factor, centre + (high - centre) * factor);
  }

  reset() { this.view = null; this.remember(); }
  toggleOrders() { if (this.data.shaft_hz) { this.orders = !this.orders; this.remember(); } }
  toggleScale() { if (this.data.kind !== "trend") { this.log = !this.log; this.remember(); } }

  down(e) {
    if (e.button !== 0) return;
    this.canvas.setPointerCapture(e.pointerId);
    this.touches.set(e.pointerId, e.offsetX);
    if (this.touches.size === 2) {
      this.pinch = { pixels: [...this.touches.values()], span: [...this.span()] };
      this.drag = null;
    } else if (e.pointerType === "mouse") this.drag = [e.offsetX, e.offsetX];
    this.at = this.toX(e.offsetX);
    this.plan();
  }

  move(e) {
    if (this.touches.has(e.pointerId)) this.touches.set(e.pointerId, e.offsetX);
    if (this.touches.size === 2 && this.pinch) {
      const [a, b] = this.pinch.pixels, [low, high] = this.pinch.span;
      const [p, q] = [...this.touches.values()];
      if (Math.abs(q - p) < 8) return;
      const plot = this.width - MARGIN.left - MARGIN.right;
      const size = ((high - low) * Math.abs(b - a)) / Math.abs(q - p);
      const anchor = low + (((a + b) / 2 - MARGIN.left) / plot) * (high - low);
      const start = anchor - (((p + q) / 2 - MARGIN.left) / plot) * size;
      this.setView(start, start + size);
      return;
    }
    if (this.drag) this.drag[1] = e.offsetX;
    this.at = this.toX(e.offsetX);
    this.plan();
  }

  up(e) {
    this.touches.delete(e.pointerId);
    if (this.touches.size < 2) this.pinch = null;
    const drag = this.drag;
    this.drag = null;
    if (drag && Math.abs(drag[1] - drag[0]) > 6) {
      const [low, high] = drag.map((px) => this.toX(px)).sort((a, b) => a - b);
      this.setView(low, high);
    }
    this.plan();
  }

  key(e) {
    const [low, high] = this.span();
    const step = (high - low) / (e.shiftKey ? 10 : 200);
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (direction && e.shiftKey) this.setView(low + direction * step, high + direction * step);
    else if (direction) {
      this.at = Math.min(high, Math.max(low, (this.at ?? (low + high) / 2) + direction * step));
      this.plan();
    } else if (e.key === "+" || e.key === "=") this.zoom(0.5);
    else if (e.key === "-") this.zoom(2);
    else if (e.key === "0" || e.key === "Escape") this.reset();
    else if (e.key === "o") this.toggleOrders();
    else if (e.key === "l") this.toggleScale();
    else return;
    e.preventDefault();
  }

  plan() {
    if (this.planned || this.data === null) return;
    this.planned = requestAnimationFrame(() => { this.planned = 0; this.draw(); });
  }

  colours() {
    const style = getComputedStyle(this.frame);
    const read = (name) => style.getPropertyValue(name).trim();
    return {
      text: style.color, ground: read("--st-background-color"), soft: read("--st-secondary-background-color"),
      rule: read("--st-border-color"), line: read("--st-text-color"), cursor: read("--st-blue-color"),
      red: read("--st-red-color"), orange: read("--st-orange-color"), gray: read("--st-gray-color"),
    };
  }

  draw() {
    const width = this.frame.clientWidth;
    if (width < 40) return;
    const height = this.data.height;
    const scale = window.devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.canvas.style.height = `${height}px`;
    }
    const g = this.canvas.getContext("2d");
    g.setTransform(scale, 0, 0, scale, 0, 0);
    const ink = this.colours();
    g.clearRect(0, 0, width, height);
    g.font = `12px ${getComputedStyle(this.frame).fontFamily}`;
    g.lineJoin = "round";
    this.low = 0;
    [this.low, this.high] = this.heights();
    this.drawBands(g, ink);
    this.drawAxes(g, ink);
    g.save();
    g.beginPath();
    g.rect(MARGIN.left, MARGIN.top, width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom);
    g.clip();
    this.drawGaps(g, ink);
    for (const line of this.lines) this.drawLine(g, ink, line);
    g.restore();
    this.drawLimits(g, ink);
    this.drawCursors(g, ink);
    this.drawPointer(g, ink);
    this.ordersButton.textContent = this.orders ? "orders" : "Hz";
    this.scaleButton.textContent = this.log ? "log" : "lin";
    this.describe();
  }

  toY(value) {
    const plot = this.height - MARGIN.top - MARGIN.bottom;
    const bottom = this.height - MARGIN.bottom;
    if (!this.log) return bottom - ((value - this.low) / (this.high - this.low)) * plot;
    const [low, high] = [Math.log10(this.low), Math.log10(this.high)];
    return bottom - ((Math.log10(Math.max(value, this.low)) - low) / (high - low)) * plot;
  }

  bounds(line) {
    const [low, high] = this.span();
    const d = this.data;
    if (!line.x) {
      const first = Math.max(0, Math.floor((low - d.start) / d.step));
      return [first, Math.min(line.y.length, Math.ceil((high - d.start) / d.step) + 1)];
    }
    const find = (value) => {
      let a = 0, b = line.x.length;
      while (a < b) { const m = (a + b) >> 1; if (line.x[m] < value) a = m + 1; else b = m; }
      return a;
    };
    return [Math.max(0, find(low) - 1), Math.min(line.x.length, find(high) + 1)];
  }

  xOf(line, index) { return line.x ? line.x[index] : this.data.start + index * this.data.step; }

  heights() {
    let low = Infinity, high = -Infinity, least = Infinity;
    for (const line of this.lines) {
      const [first, last] = this.bounds(line);
      for (let i = first; i < last; i++) {
        const value = line.y[i];
        if (!(value === value)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
        if (value > 0 && value < least) least = value;
      }
    }
    if (high === -Infinity) return this.log ? [0.1, 1] : [0, 1];
    if (this.log) return [Math.max(least, high / 1e5) * 0.8, high * 1.6];
    for (const limit of this.data.limits) if (limit.keep) high = Math.max(high, limit.value * 1.08);
    if (this.data.from_zero) low = Math.min(0, low);
    if (high <= low) high = low + (Math.abs(low) || 1) * 0.1;
    const air = (high - low) * 0.08;
    return [low < 0 || !this.data.from_zero ? low - air : low, high + air];
  }

  drawBands(g, ink) {
    const [left, right] = [MARGIN.left, this.width - MARGIN.right];
    const [top, bottom] = [MARGIN.top, this.height - MARGIN.bottom];
    for (const band of this.data.bands) {
      const from = Math.min(bottom, this.toY(Math.max(band.low, this.low)));
      const to = Math.max(top, band.high === null ? top : this.toY(band.high));
      if (from <= to) continue;
      const colour = { C: ink.orange, D: ink.red }[band.label];
      if (colour) {
        g.globalAlpha = 0.13;
        g.fillStyle = colour;
        g.fillRect(left, to, right - left, from - to);
        g.globalAlpha = 1;
      }
      if (from - to > 14) {
        g.fillStyle = ink.text;
        g.globalAlpha = 0.75;
        g.textAlign = "right";
        g.textBaseline = "middle";
        g.fillText(band.label, right - 5, (from + to) / 2);
        g.globalAlpha = 1;
      }
    }
  }

  drawAxes(g, ink) {
    const [left, right] = [MARGIN.left, this.width - MARGIN.right];
    const [top, bottom] = [MARGIN.top, this.height - MARGIN.bottom];
    g.strokeStyle = ink.rule;
    g.fillStyle = ink.text;
    g.lineWidth = 1;
    g.textAlign = "right";
    g.textBaseline = "middle";
    for (const value of this.heightTicks()) {
      const y = Math.round(this.toY(value.at)) + 0.5;
      g.beginPath();
      g.moveTo(left, y);
      g.lineTo(right, y);
      g.stroke();
      g.fillText(value.text, left - 6, y);
    }
    g.textAlign = "center";
    g.textBaseline = "top";
    for (const tick of this.widthTicks()) {
      const x = Math.round(this.toPx(tick.at)) + 0.5;
      g.beginPath();
      g.moveTo(x, bottom);
      g.lineTo(x, bottom + 4);
      g.stroke();
      g.fillText(tick.text, x, bottom + 6);
    }
    g.strokeStyle = ink.text;
    g.beginPath();
    g.moveTo(left + 0.5, top);
    g.lineTo(left + 0.5, bottom + 0.5);
    g.lineTo(right, bottom + 0.5);
    g.stroke();
    g.textBaseline = "alphabetic";
    g.textAlign = "left";
    g.fillText(this.data.y_label, 4, 12);
    g.textAlign = "right";
    g.fillText(this.orders ? "orders of the shaft" : this.data.x_label, right, this.height - 3);
  }

  heightTicks() {
    if (this.log) {
      const ticks = [];
      for (let p = Math.ceil(Math.log10(this.low)); p <= Math.log10(this.high); p++) ticks.push({ at: 10 ** p, text: show(10 ** p, 1) });
      return ticks;
    }
    const step = niceStep(this.high - this.low, Math.max(3, (this.height - 70) / 30));
    const ticks = [];
    for (let at = Math.ceil(this.low / step) * step; at <= this.high; at += step) ticks.push({ at, text: tickText(at, step) });
    return ticks;
  }

  widthTicks() {
    const [low, high] = this.span();
    const count = Math.max(2, (this.width - 70) / 90);
    const ticks = [];
    if (this.data.kind === "trend") {
      const step = TIME_STEPS.find((s) => s >= (high - low) / count) ?? TIME_STEPS.at(-1);
      const shift = new Date(high).getTimezoneOffset() * MINUTE;
      for (let at = Math.ceil((low - shift) / step) * step + shift; at <= high; at += step) ticks.push({ at, text: clockText(at, step) });
      return ticks;
    }
    const unit = this.orders ? this.data.shaft_hz : 1;
    const step = niceStep((high - low) / unit, count);
    for (let at = Math.ceil(low / unit / step) * step; at * unit <= high; at += step) ticks.push({ at: at * unit, text: tickText(at, step) });
    return ticks;
  }

  drawGaps(g, ink) {
    if (this.data.kind !== "trend") return;
    const [top, bottom] = [MARGIN.top, this.height - MARGIN.bottom];
    for (const [from, to] of this.data.gaps) {
      const [a, b] = [Math.max(MARGIN.left, this.toPx(from)), Math.min(this.width - MARGIN.right, this.toPx(to))];
      if (b - a < 1.5) continue;
      g.save();
      g.beginPath();
      g.rect(a, top, b - a, bottom - top);
      g.clip();
      g.strokeStyle = ink.gray;
      g.globalAlpha = 0.45;
      g.lineWidth = 1;
      g.beginPath();
      for (let x = a - (bottom - top); x < b; x += 7) { g.moveTo(x, bottom); g.lineTo(x + bottom - top, top); }
      g.stroke();
      g.restore();
    }
  }

  drawLine(g, ink, line) {
    const [first, last] = this.bounds(line);
    g.strokeStyle = line.role === "baseline" ? ink.gray : line.role === "limit" ? ink.red : ink.line;
    g.globalAlpha = line.role === "baseline" ? 0.8 : 1;
    g.lineWidth = line.role === "main" ? 1.3 : 1.2;
    g.setLineDash(line.role === "limit" ? [6, 4] : []);
    g.beginPath();
    let pen = false, column = -1, least = 0, most = 0, lastY = 0;
    const dense = last - first > 2 * this.width;
    for (let i = first; i < last; i++) {
      const value = line.y[i];
      if (!(value === value)) { pen = false; column = -1; continue; }
      const x = this.toPx(this.xOf(line, i)), y = this.toY(value);
      if (!pen) { g.moveTo(x, y); pen = true; column = Math.floor(x); least = most = lastY = y; continue; }
      if (!dense) { g.lineTo(x, y); lastY = y; continue; }
      if (Math.floor(x) === column) { least = Math.min(least, y); most = Math.max(most, y); lastY = y; continue; }
      g.lineTo(column, least);
      g.lineTo(column, most);
      g.lineTo(column, lastY);
      g.lineTo(x, y);
      column = Math.floor(x);
      least = most = lastY = y;
    }
    if (dense && pen) { g.lineTo(column, least); g.lineTo(column, most); }
    g.stroke();
    g.setLineDash([]);
    g.globalAlpha = 1;
    if (line.dots) {
      g.fillStyle = ink.line;
      for (let i = first; i < last; i++) {
        const alone = !(line.y[i - 1] === line.y[i - 1]) && !(line.y[i + 1] === line.y[i + 1]);
        if (line.y[i] === line.y[i] && alone) g.fillRect(this.toPx(this.xOf(line, i)) - 1.5, this.toY(line.y[i]) - 1.5, 3, 3);
      }
    }
  }

  drawLimits(g, ink) {
    const right = this.width - MARGIN.right;
    for (const limit of this.data.limits) {
      const y = this.toY(limit.value);
      if (y < MARGIN.top - 1 || y > this.height - MARGIN.bottom) continue;
      g.strokeStyle = ink.gray;
      g.setLineDash([3, 3]);
      g.beginPath();
      g.moveTo(MARGIN.left, y);
      g.lineTo(right, y);
      g.stroke();
      g.setLineDash([]);
      g.fillStyle = ink.text;
      g.textAlign = "left";
      g.textBaseline = "bottom";
      g.fillText(limit.label, MARGIN.left + 5, y - 1);
    }
    for (const mark of this.data.marks) {
      const x = this.toPx(mark.at);
      if (x < MARGIN.left || x > right) continue;
      g.strokeStyle = ink.text;
      g.setLineDash([1, 3]);
      g.beginPath();
      g.moveTo(x, MARGIN.top);
      g.lineTo(x, this.height - MARGIN.bottom);
      g.stroke();
      g.setLineDash([]);
      g.fillStyle = ink.text;
      g.textBaseline = "top";
      const wide = g.measureText(mark.label).width + 8;
      g.textAlign = x + wide > right ? "right" : "left";
      g.fillText(mark.label, x + (x + wide > right ? -4 : 4), MARGIN.top + 2);
    }
  }

  drawCursors(g, ink) {
    const [left, right] = [MARGIN.left, this.width - MARGIN.right];
    const [top, bottom] = [MARGIN.top, this.height - MARGIN.bottom];
    const rows = [-Infinity, -Infinity];
    this.drawn = [];
    const wanted = [];
    this.data.cursors.forEach((cursor, index) => {
      if (this.off.has(cursor.label)) return;
      for (let k = 1; k <= cursor.harmonics; k++) wanted.push({ cursor, index, k, x: this.toPx(k * cursor.hz) });
    });
    wanted.sort((a, b) => a.x - b.x);
    for (const { cursor, index, k, x } of wanted) {
      if (x < left || x > right) continue;
      const reach = (k * cursor.hz * cursor.tolerance) / (this.span()[1] - this.span()[0]) * (right - left);
      g.fillStyle = ink.cursor;
      if (reach > 0.5) {
        g.globalAlpha = 0.16;
        g.fillRect(Math.max(left, x - reach), top, Math.min(right, x + reach) - Math.max(left, x - reach), bottom - top);
      }
      g.globalAlpha = k === 1 ? 1 : 0.75;
      g.strokeStyle = ink.cursor;
      g.lineWidth = k === 1 ? 1.6 : 1;
      g.setLineDash(DASHES[index % DASHES.length]);
      g.beginPath();
      g.moveTo(x, top);
      g.lineTo(x, bottom);
      g.stroke();
      g.setLineDash([]);
      g.globalAlpha = 1;
      if (cursor.found_hz) {
        const at = this.toPx(k * cursor.found_hz);
        if (at >= left && at <= right) {
          g.beginPath();
          g.moveTo(at, bottom - 1);
          g.lineTo(at - 5, bottom + 7);
          g.lineTo(at + 5, bottom + 7);
          g.fill();
        }
      }
      const text = k === 1 ? `${cursor.label} ${show(cursor.hz, 4)} Hz` : `${k}× ${cursor.label}`;
      const wide = g.measureText(text).width;
      const start = Math.min(Math.max(left, x - wide / 2), right - wide);
      const row = rows.findIndex((end) => start > end + 6);
      if (row === -1) continue;
      rows[row] = start + wide;
      g.textAlign = "left";
      g.textBaseline = "alphabetic";
      g.fillStyle = ink.text;
      g.fillText(text, start, top - 4 - 13 * row + (row ? 1 : 0));
      this.drawn.push(text);
    }
  }

  nearest() {
    const line = this.lines.find((l) => l.role === "main");
    if (!line || this.at === null) return null;
    const [first, last] = this.bounds(line);
    const [low, high] = this.span();
    const reach = (high - low) / Math.max(100, this.width - 70) * 4;
    let best = -1, score = Infinity;
    for (let i = first; i < last; i++) {
      const value = line.y[i], far = Math.abs(this.xOf(line, i) - this.at);
      if (!(value === value)) continue;
      const rank = this.data.kind === "trend" ? far : far <= reach ? -value : far / reach + 1e9;
      if (rank < score) { score = rank; best = i; }
    }
    if (best < 0) return null;
    return { x: this.xOf(line, best), y: line.y[best] };
  }

  drawPointer(g, ink) {
    if (this.drag && Math.abs(this.drag[1] - this.drag[0]) > 6) {
      const [a, b] = [...this.drag].sort((p, q) => p - q);
      g.fillStyle = ink.cursor;
      g.globalAlpha = 0.18;
      g.fillRect(a, MARGIN.top, b - a, this.height - MARGIN.top - MARGIN.bottom);
      g.globalAlpha = 1;
    }
    const found = this.nearest();
    if (!found) { this.readout.textContent = this.data.hint; return; }
    const x = this.toPx(found.x), y = this.toY(found.y);
    if (x >= MARGIN.left - 1 && x <= this.width - MARGIN.right + 1) {
      g.strokeStyle = ink.text;
      g.globalAlpha = 0.6;
      g.beginPath();
      g.moveTo(x, MARGIN.top);
      g.lineTo(x, this.height - MARGIN.bottom);
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
    this.readout.textContent = this.say(found);
  }

  say(found) {
    const value = `${show(found.y)} ${this.data.y_unit}`;
    if (this.data.kind === "trend") {
      const gap = this.data.gaps.find(([from, to]) => this.at > from && this.at < to);
      if (gap) return `no data from ${new Date(gap[0]).toLocaleString()} to ${new Date(gap[1]).toLocaleString()}`;
      return `${new Date(found.x).toLocaleString()} · ${value}`;
    }
    const parts = [`${show(found.x, 4)} Hz`];
    if (this.data.shaft_hz) parts.push(`${show(found.x / this.data.shaft_hz, 4)} orders`);
    parts.push(value);
    for (const cursor of this.data.cursors) {
      if (this.off.has(cursor.label)) continue;
      const k = Math.round(found.x / cursor.hz);
      const off = k >= 1 && k <= cursor.harmonics ? found.x / (k * cursor.hz) - 1 : 1;
      const near = Math.max(cursor.tolerance, this.data.step / (k * cursor.hz));
      if (Math.abs(off) <= near) parts.push(`${k > 1 ? `${k}× ` : ""}${cursor.label} ${off >= 0 ? "+" : ""}${(100 * off).toFixed(1)} %`);
    }
    return parts.join(" · ");
  }

  describe() {
    const [low, high] = this.span();
    this.canvas.dataset.view = `${low}:${high}`;
    const first = this.firstView();
    const chosen = this.view !== null && !(first && this.view[0] === first[0] && this.view[1] === first[1]);
    this.canvas.dataset.zoomed = String(chosen);
    const where = this.data.kind === "trend"
      ? `${new Date(low).toLocaleString()} to ${new Date(high).toLocaleString()}` : `${show(low)} to ${show(high)} Hz`;
    const cursors = this.drawn.length ? ` Cursors: ${this.drawn.join(", ")}.` : "";
    this.canvas.setAttribute("aria-label", `${this.data.title}, ${where}, ${this.data.y_label}.${cursors}`);
  }
}

export default function render({ parentElement, data }) {
  let chart = parentElement.undertoneChart;
  if (!chart) chart = parentElement.undertoneChart = new Chart(parentElement);
  chart.take(data);
  return () => {
    chart.resized.disconnect();
    chart.frame.remove();
    delete parentElement.undertoneChart;
  };
}
