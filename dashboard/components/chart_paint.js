// This file knows how a chart is painted: zones, axes, gaps, lines, limits, families of lines and the waterfall. Text
// from outside is only ever drawn as text.

const MARGIN = { left: 58, right: 14, top: 34, bottom: 36 };
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2]];
const WATERFALL_DB = 50;

const painting = {
  colours() {
    const style = getComputedStyle(this.frame);
    const read = (name) => style.getPropertyValue(name).trim();
    return {
      text: style.color, ground: read("--st-background-color"), soft: read("--st-secondary-background-color"),
      rule: read("--st-border-color"), line: read("--st-text-color"), cursor: read("--st-blue-color"),
      red: read("--st-red-color"), orange: read("--st-orange-color"), gray: read("--st-gray-color"),
      violet: read("--st-violet-color"),
    };
  },

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
    this.drawPeriods(g, ink);
    this.drawGaps(g, ink);
    this.drawRange(g, ink);
    if (this.data.kind === "waterfall") this.drawWaterfall(g, ink);
    else for (const line of this.painted()) this.drawLine(g, ink, line);
    g.restore();
    this.drawLimits(g, ink);
    this.drawFamilies(g, ink);
    this.cursor.paint(g, ink);
    this.ordersButton.textContent = this.orders ? this.said("orders") : "Hz";
    this.scaleButton.textContent = this.log ? "log" : "lin";
    this.unitButton.textContent = this.unitName();
    this.differenceButton.setAttribute("aria-pressed", String(this.difference));
    this.describe();
  },

  toY(value) {
    const plot = this.height - MARGIN.top - MARGIN.bottom;
    const bottom = this.height - MARGIN.bottom;
    if (!this.log) return bottom - ((value - this.low) / (this.high - this.low)) * plot;
    const [low, high] = [Math.log10(this.low), Math.log10(this.high)];
    return bottom - ((Math.log10(Math.max(value, this.low)) - low) / (high - low)) * plot;
  },

  heights() {
    if (this.data.kind === "waterfall") return [this.lines.length, 0];
    let low = Infinity, high = -Infinity, least = Infinity;
    for (const line of this.painted()) {
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
  },

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
  },

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
    g.fillText(this.heightLabel(), 4, 12);
    g.textAlign = "right";
    g.fillText(this.orders ? this.said("orders_of_shaft") : this.data.x_label, right, this.height - 3);
  },

  heightTicks() {
    if (this.data.kind === "waterfall") {
      const room = (this.height - MARGIN.top - MARGIN.bottom) / Math.max(1, this.lines.length);
      const every = Math.max(1, Math.ceil(15 / room));
      return this.lines.map((line, row) => ({ at: row + 0.5, text: line.name, row })).filter((tick) => tick.row % every === 0);
    }
    if (this.log) {
      const ticks = [];
      for (let p = Math.ceil(Math.log10(this.low)); p <= Math.log10(this.high); p++) ticks.push({ at: 10 ** p, text: show(10 ** p, 1) });
      return ticks;
    }
    const step = niceStep(this.high - this.low, Math.max(3, (this.height - 70) / 30));
    const ticks = [];
    for (let at = Math.ceil(this.low / step) * step; at <= this.high; at += step) ticks.push({ at, text: tickText(at, step) });
    return ticks;
  },

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
  },

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
  },

  // What took its time, such as learning what healthy is: a shaded span with its name at half its height, where least is written.
  drawPeriods(g, ink) {
    const [left, right] = [MARGIN.left, this.width - MARGIN.right];
    const [top, bottom] = [MARGIN.top, this.height - MARGIN.bottom];
    for (const period of this.data.periods) {
      const a = Math.max(left, this.toPx(period.from));
      const b = Math.min(right, period.until === null ? right : this.toPx(period.until));
      if (b <= a) continue;
      g.fillStyle = ink.gray;
      g.globalAlpha = 0.12;
      g.fillRect(a, top, Math.max(2, b - a), bottom - top);
      g.globalAlpha = 1;
      g.fillStyle = ink.text;
      g.textAlign = "left";
      g.textBaseline = "middle";
      const wide = g.measureText(period.label).width;
      g.fillText(period.label, Math.max(left + 3, Math.min(a + 3, right - wide - 3)), (top + bottom) / 2);
    }
  },

  // The range of the axis that something refers to: the demodulated band, or the band a contribution comes from.
  drawRange(g, ink) {
    const marked = this.pointedAt ?? this.data.marked_band;
    if (!marked) return;
    const [a, b] = marked.map((x) => this.toPx(x));
    const [top, bottom] = [MARGIN.top, this.height - MARGIN.bottom];
    g.fillStyle = ink.cursor;
    g.globalAlpha = this.pointedAt ? 0.2 : 0.1;
    g.fillRect(a, top, Math.max(1, b - a), bottom - top);
    g.globalAlpha = 0.7;
    g.strokeStyle = ink.cursor;
    g.setLineDash([2, 3]);
    g.strokeRect(a, top - 2, Math.max(1, b - a), bottom - top + 4);
    g.setLineDash([]);
    g.globalAlpha = 1;
  },

  drawLine(g, ink, line) {
    const [first, last] = this.bounds(line);
    const looks = {
      baseline: [ink.gray, 0.9, []], other: [ink.violet, 0.9, [5, 2]], limit: [ink.red, 1, [6, 4]], main: [ink.line, 1, []],
    };
    const [colour, alpha, dash] = looks[line.role] ?? looks.main;
    g.strokeStyle = colour;
    g.globalAlpha = alpha;
    g.lineWidth = line.role === "main" ? 1.3 : 1.2;
    g.setLineDash(dash);
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
  },

  // More ink is higher, over 50 dB below the highest line in view: one hue, so that it reads the same for every eye.
  drawWaterfall(g, ink) {
    const columns = Math.max(1, Math.round(this.width - MARGIN.left - MARGIN.right));
    const picture = new OffscreenCanvas(columns, Math.max(1, this.lines.length));
    const made = picture.getContext("2d");
    const pixels = made.createImageData(columns, Math.max(1, this.lines.length));
    const [low, high] = this.span();
    const heights = this.lines.map((line) => {
      const row = new Float32Array(columns);
      const [first, last] = this.bounds(line);
      for (let i = first; i < last; i++) {
        const column = Math.floor(((this.xOf(line, i) - low) / (high - low)) * columns);
        if (column >= 0 && column < columns && line.y[i] > row[column]) row[column] = line.y[i];
      }
      for (let c = 1; c < columns; c++) if (row[c] === 0) row[c] = row[c - 1]; // fewer lines than pixels
      return row;
    });
    const most = Math.max(1e-12, ...heights.map((row) => row.reduce((a, b) => Math.max(a, b), 0)));
    const probe = made.canvas.getContext("2d");
    probe.fillStyle = ink.line;
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(probe.fillStyle.slice(at, at + 2), 16));
    heights.forEach((row, y) => row.forEach((value, x) => {
      const share = 1 + (20 * Math.log10(Math.max(value, 1e-12) / most)) / WATERFALL_DB;
      const at = 4 * (y * columns + x);
      pixels.data[at] = red;
      pixels.data[at + 1] = green;
      pixels.data[at + 2] = blue;
      pixels.data[at + 3] = Math.round(255 * Math.max(0, Math.min(1, share)) ** 1.5);
    }));
    made.putImageData(pixels, 0, 0);
    g.imageSmoothingEnabled = false;
    g.drawImage(picture, MARGIN.left, MARGIN.top, columns, this.height - MARGIN.top - MARGIN.bottom);
  },

  drawLimits(g, ink) {
    const right = this.width - MARGIN.right;
    const places = [["left", -1], ["right", -1], ["left", 14], ["right", 14]], taken = []; // above its line or below, where there is room
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
      const place = places.find(([side, at]) => !taken.some(([other, near]) => other === side && Math.abs(near - (y + at)) < 13));
      if (!place) continue;
      const [side, at] = place;
      taken.push([side, y + at]);
      g.fillStyle = ink.text;
      g.textAlign = side;
      g.textBaseline = "bottom";
      g.fillText(limit.label, side === "left" ? MARGIN.left + 5 : right - 18, y + at);
    }
    const rows = [-Infinity, 8 + g.measureText(this.heightLabel()).width]; // the second row begins behind the label
    for (const mark of [...this.data.marks].sort((a, b) => a.at - b.at)) {
      const x = this.toPx(mark.at);
      if (x < MARGIN.left || x > right) continue;
      g.strokeStyle = ink.text;
      g.setLineDash([1, 3]);
      g.beginPath();
      g.moveTo(x, MARGIN.top);
      g.lineTo(x, this.height - MARGIN.bottom);
      g.stroke();
      g.setLineDash([]);
      const wide = g.measureText(mark.label).width + 8;
      const start = Math.max(MARGIN.left, Math.min(x - wide / 2, right - wide));
      const row = rows.findIndex((end) => start > end + 4);
      if (row === -1) continue;
      rows[row] = start + wide;
      g.fillStyle = ink.text;
      g.textBaseline = "top";
      g.textAlign = "left";
      g.fillText(mark.label, start, MARGIN.top - 13 - 13 * row);
    }
  },

  drawFamilies(g, ink) {
    const [left, right] = [MARGIN.left, this.width - MARGIN.right];
    const [top, bottom] = [MARGIN.top, this.height - MARGIN.bottom];
    const rows = [-Infinity, 8 + g.measureText(this.heightLabel()).width];
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
  },
};
