// This file knows how a chart is read and handled: waveform, spectrum, envelope, waterfall and trend on one canvas, with
// a zoom that outlives new data. No library, nothing fetched.

class Chart {
  constructor(root) {
    this.root = root;
    this.data = null;
    this.view = null;
    this.off = new Set();
    this.at = null;
    this.drag = null;
    this.touches = new Map();
    this.frame = document.createElement("div");
    this.frame.className = "frame";
    this.head = document.createElement("div");
    this.head.className = "head";
    this.title = cell("span", "", "title");
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.readout = cell("div", "", "readout");
    this.readout.setAttribute("aria-live", "polite");
    this.families = cell("div", "", "families");
    this.below = cell("div", "", "below");
    this.cursor = new Cursors(this);
    this.exports = new Exports(this);
    this.ordersButton = this.button("Hz", "", () => this.toggleOrders());
    this.unitButton = this.button("g", "", () => this.toggleUnit());
    this.scaleButton = this.button("lin", "", () => this.toggleScale());
    this.differenceButton = this.button("Δ", "", () => { this.difference = !this.difference; this.remember(); });
    this.outButton = this.button("−", "", () => this.zoom(2));
    this.inButton = this.button("+", "", () => this.zoom(0.5));
    this.allButton = this.button("", "", () => this.reset());
    this.head.append(
      this.title, this.cursor.bar, this.ordersButton, this.unitButton, this.scaleButton, this.differenceButton,
      this.outButton, this.inButton, this.allButton, this.exports.bar,
    );
    this.frame.append(this.head, this.canvas, this.readout, this.families, this.below);
    root.append(this.frame);
    this.listen();
  }

  button(text, label, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    this.name(made, label);
    made.addEventListener("click", act);
    return made;
  }

  name(button, label) {
    button.title = label;
    button.setAttribute("aria-label", label);
  }

  said(key) { return this.data.texts[key] ?? key; }

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
    this.follow = (e) => this.followGroup(e.detail);
    window.addEventListener("undertone:view", this.follow);
  }

  leave() {
    this.resized.disconnect();
    window.removeEventListener("undertone:view", this.follow);
    this.frame.remove();
  }

  take(data) {
    const changed = this.data === null || this.data.view_key !== data.view_key;
    const followed = this.data !== null && this.view !== null && this.view[1] >= this.full()[1];
    this.data = data;
    this.lines = data.lines.map((line) => ({
      ...line, y: decode(line.values, Float32Array), x: line.times ? decode(line.times, Float64Array) : null,
    }));
    this.made = null;
    this.nameButtons();
    if (changed) this.restore();
    else if (this.view !== null && followed && data.kind === "trend") {
      const move = this.full()[1] - this.view[1];
      this.view = [this.view[0] + move, this.view[1] + move];
    }
    this.title.textContent = data.title;
    this.ordersButton.hidden = !data.shaft_hz || data.kind === "waveform" || data.kind === "trend";
    this.unitButton.hidden = data.units.length < 2;
    this.scaleButton.hidden = data.kind !== "spectrum";
    this.differenceButton.hidden = !this.other();
    if (!this.other()) this.difference = false;
    this.cursor.take();
    this.exports.take();
    this.showTables();
    this.plan();
  }

  nameButtons() {
    for (const [button, key] of [[this.ordersButton, "orders_help"], [this.unitButton, "unit_help"],
      [this.scaleButton, "scale_help"], [this.differenceButton, "difference_help"], [this.outButton, "out_help"],
      [this.inButton, "in_help"], [this.allButton, "all_help"]]) this.name(button, this.said(key));
    this.differenceButton.textContent = `Δ ${this.said("difference")}`;
    this.allButton.textContent = this.said("all");
  }

  showTables() {
    this.families.replaceChildren(...familyButtons(this));
    this.below.replaceChildren(...contributionBars(this), ...peakTable(this));
  }

  restore() {
    this.view = this.firstView();
    this.at = null;
    this.orders = false;
    this.log = false;
    this.unit = 0;
    this.difference = false;
    this.pointedAt = null;
    this.cursor.choose("single");
    this.off = new Set(this.data.cursors.filter((c) => !c.shown).map((c) => c.label));
    if (this.data.look) { this.view = this.data.look; return; }
    try {
      const kept = JSON.parse(sessionStorage.getItem(`undertone:${this.data.view_key}`));
      if (!kept) return;
      this.view = kept.view;
      this.orders = kept.orders && Boolean(this.data.shaft_hz);
      this.log = kept.log;
      this.unit = Math.min(kept.unit ?? 0, this.data.units.length - 1);
      this.difference = Boolean(kept.difference);
      this.off = new Set(kept.off);
      this.cursor.mode = kept.mode ?? "single";
      this.cursor.anchors = kept.anchors ?? [];
      this.cursor.order = kept.order ?? 1;
    } catch { /* a browser that keeps nothing shows everything */ }
  }

  firstView() {
    const opens = this.data.first_view;
    return opens && opens < this.full()[1] ? [this.full()[0], opens] : null;
  }

  remember() {
    const kept = {
      view: this.view, orders: this.orders, log: this.log, unit: this.unit, difference: this.difference,
      off: [...this.off], mode: this.cursor.mode, anchors: this.cursor.anchors, order: this.cursor.order,
    };
    try { sessionStorage.setItem(`undertone:${this.data.view_key}`, JSON.stringify(kept)); } catch { /* likewise */ }
    this.plan();
  }

  followGroup({ group, view, from }) {
    if (from === this || !this.data?.group || this.data.group !== group) return;
    this.view = view;
    this.remember();
  }

  inVelocity() { return this.unit === 1 && this.data.units.length > 1; }

  unitName() { return this.data.units[this.unit] ?? this.data.y_unit; }

  heightLabel() {
    if (this.data.units.length < 2 && !this.difference) return this.data.y_label;
    return `${this.difference ? this.said("difference") : this.data.y_name} ${this.said("in")} ${this.unitName()}`;
  }

  other() { return this.data?.kind === "spectrum" ? this.lines.find((line) => line.role === "other" || line.role === "baseline") : null; }

  // The lines in the unit and form that are wanted.
  painted() {
    const wanted = `${this.unit}:${this.difference}`;
    if (this.made?.wanted === wanted) return this.made.lines;
    const d = this.data;
    let lines = this.lines;
    if (this.inVelocity()) {
      lines = lines.map((line) => ({ ...line, y: velocityOf(line.y, d) }));
    }
    if (this.difference && this.other()) {
      const main = lines.find((line) => line.role === "main");
      const other = lines.find((line) => line.role === this.other().role);
      lines = [{ ...main, name: this.said("difference"), y: main.y.map((value, i) => value - other.y[i]) }];
    }
    this.made = { wanted, lines };
    return lines;
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

  setView(low, high) {
    const [first, last] = this.full();
    const least = this.data.kind === "trend" ? 10e3 : this.data.step * 8;
    const size = Math.max(least, high - low);
    if (size >= last - first) this.view = null;
    else {
      let start = Math.max(first, low);
      if (start + size > last) start = last - size;
      this.view = [start, start + size];
    }
    this.tellGroup();
  }

  tellGroup() {
    this.remember();
    if (!this.data.group) return;
    const detail = { group: this.data.group, view: this.view, from: this };
    window.dispatchEvent(new CustomEvent("undertone:view", { detail }));
  }

  lookAt(x) {
    const [low, high] = this.span();
    this.at = x;
    if (x < low || x > high) this.setView(x - (high - low) / 2, x + (high - low) / 2);
    this.plan();
    this.canvas.focus({ preventScroll: true });
    this.canvas.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  zoom(factor, around = null) {
    const [low, high] = this.span();
    const inside = this.at !== null && this.at >= low && this.at <= high;
    const centre = around ?? (inside ? this.at : (low + high) / 2);
    this.setView(centre - (centre - low) * factor, centre + (high - centre) * factor);
  }

  reset() { this.view = null; this.pointedAt = null; this.tellGroup(); }
  toggleOrders() { if (this.data.shaft_hz) { this.orders = !this.orders; this.remember(); } }
  toggleScale() { if (this.data.kind === "spectrum") { this.log = !this.log && !this.difference; this.remember(); } }

  toggleUnit() {
    if (this.data.units.length < 2) return;
    this.unit = (this.unit + 1) % this.data.units.length;
    this.showTables();
    this.remember();
  }

  down(e) {
    if (e.button !== 0) return;
    this.canvas.setPointerCapture(e.pointerId);
    this.touches.set(e.pointerId, e.offsetX);
    if (this.touches.size === 2) {
      this.pinch = { pixels: [...this.touches.values()], span: [...this.span()] };
      this.drag = null;
    } else if (e.pointerType === "mouse") this.drag = [e.offsetX, e.offsetX];
    this.pressedAt = e.offsetX;
    this.point(e);
  }

  // What a button has to say stands until the cursor moves.
  tell(text) {
    this.told = text;
    this.plan();
  }

  point(e) {
    this.told = null;
    this.at = this.toX(e.offsetX);
    const plot = this.height - MARGIN.top - MARGIN.bottom;
    this.atRow = Math.floor(((e.offsetY - MARGIN.top) / plot) * this.lines.length);
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
    this.point(e);
  }

  up(e) {
    this.touches.delete(e.pointerId);
    if (this.touches.size < 2) this.pinch = null;
    const drag = this.drag;
    this.drag = null;
    if (drag && Math.abs(drag[1] - drag[0]) > 6) {
      const [low, high] = drag.map((px) => this.toX(px)).sort((a, b) => a - b);
      this.setView(low, high);
    } else if (Math.abs(e.offsetX - this.pressedAt) <= 6) this.cursor.fix();
    this.plan();
  }

  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    this.told = null;
    const [low, high] = this.span();
    const step = (high - low) / (e.shiftKey ? 10 : 200);
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    const mode = { c: "single", h: "harmonics", s: "sidebands", d: "distance" }[e.key];
    if (direction && e.shiftKey) this.setView(low + direction * step, high + direction * step);
    else if (direction) {
      this.at = Math.min(high, Math.max(low, (this.at ?? (low + high) / 2) + direction * step));
      this.plan();
    } else if (e.key === "n") this.cursor.nextPeak(1);
    else if (e.key === "b") this.cursor.nextPeak(-1);
    else if (e.key === "Enter" || e.key === " ") this.cursor.fix();
    else if (e.key === "Escape" && this.cursor.release()) { /* what was fixed is given up first */ }
    else if (e.key === "+" || e.key === "=") this.zoom(0.5);
    else if (e.key === "-") this.zoom(2);
    else if (e.key === "0" || e.key === "Escape") this.reset();
    else if (/^[1-9]$/.test(e.key) && this.cursor.mode === "harmonics") { this.cursor.order = Number(e.key); this.remember(); }
    else if (e.key === "o") this.toggleOrders();
    else if (e.key === "l") this.toggleScale();
    else if (e.key === "u") this.toggleUnit();
    else if (mode && MODES[this.data.kind].includes(mode)) { this.cursor.choose(mode); this.remember(); }
    else return;
    e.preventDefault();
  }

  plan() {
    if (this.planned || this.data === null) return;
    this.planned = requestAnimationFrame(() => { this.planned = 0; this.draw(); });
  }

  describe() {
    const [low, high] = this.span();
    this.canvas.dataset.view = `${low}:${high}`;
    const first = this.firstView();
    const chosen = this.view !== null && !(first && this.view[0] === first[0] && this.view[1] === first[1]);
    this.canvas.dataset.zoomed = String(chosen);
    this.canvas.dataset.unit = this.unitName();
    const where = this.data.kind === "trend"
      ? `${momentText(low)} – ${momentText(high)}` : `${show(low)} – ${show(high)} ${this.data.kind === "waveform" ? "s" : "Hz"}`;
    const cursors = this.drawn.length ? ` Cursors: ${this.drawn.join(", ")}.` : "";
    this.canvas.setAttribute("aria-label", `${this.data.title}, ${where}, ${this.heightLabel()}.${cursors}`);
  }
}
Object.assign(Chart.prototype, painting);

export default function render({ parentElement, data }) {
  let chart = parentElement.undertoneChart;
  if (!chart) chart = parentElement.undertoneChart = new Chart(parentElement);
  chart.take(data);
  return () => {
    chart.leave();
    delete parentElement.undertoneChart;
  };
}
