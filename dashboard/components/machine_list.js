// This file knows how the list of machines is drawn: worst first, each row a link by the machine's name. The order
// stands until somebody sorts anew, or, kept sorted, while somebody points at the list: no row moves under a finger.

const KEEP = "undertone:keep-sorted";

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  square: "M3 3H17V17H3Z", triangle: "M10 2L18.5 17.5H1.5Z", circle: "M10 2A8 8 0 1 1 9.99 2Z",
  diamond: "M10 1L19 10L10 19L1 10Z", hatched: "M3 3H17V17H3Z", ring: "M10 3A7 7 0 1 1 9.99 3Z",
  pause: "M5 4H8V16H5ZM12 4H15V16H12Z", dot: "M10 8A2 2 0 1 1 9.99 8Z",
};

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

function draw(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function glyph(row) {
  const picture = draw("svg", { width: 22, height: 22, viewBox: "0 0 20 20", "aria-hidden": "true" });
  const colour = row.colour === "gray" ? "var(--st-gray-color)" : `var(--st-${row.colour}-color)`;
  const hollow = row.shape === "ring" || row.shape === "hatched";
  picture.append(draw("path", { d: SHAPES[row.shape], fill: hollow ? "none" : colour, stroke: colour, "stroke-width": 1.5 }));
  if (row.shape === "hatched") picture.append(draw("path", { d: "M3 9L9 3M3 15L15 3M6 17L17 6M12 17L17 12", stroke: colour, "stroke-width": 1 }));
  if (row.letter && row.shape !== "pause") {
    const low = row.shape === "triangle" ? 15.5 : 14;
    const letter = draw("text", {
      x: 10, y: low, "text-anchor": "middle", "font-size": row.shape === "triangle" ? 10 : 11, "font-weight": 700,
      fill: hollow ? "var(--st-text-color)" : "var(--st-background-color)",
    });
    letter.textContent = row.letter;
    picture.append(letter);
  }
  return picture;
}

function spark(row, texts) {
  if (row.trend.length < 2) return null;
  const [width, height] = [120, 34];
  const most = Math.max(1.25, ...row.trend), y = (v) => height - 2 - (v / most) * (height - 4);
  const picture = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  picture.setAttribute("aria-label", texts.spark.replace("{times}", row.trend.at(-1).toFixed(1)));
  picture.append(draw("path", { d: `M0 ${y(1)}H${width}`, stroke: "var(--st-gray-color)", "stroke-dasharray": "3 3" }));
  const step = width / (row.trend.length - 1);
  const path = row.trend.map((v, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  picture.append(draw("path", { d: path, fill: "none", stroke: "var(--st-text-color)", "stroke-width": 1.4 }));
  return picture;
}

function fill(link, row, texts) {
  link.className = `row${row.stale ? " stale" : ""}${row.colour === "gray" ? " quiet" : ""}`;
  link.href = row.href;
  link.dataset.machine = row.machine;
  const state = make("div", "state");
  state.append(glyph(row), make("span", "word", row.word));
  const name = make("div", "name");
  name.append(make("b", "", row.title), make("small", "", row.machine));
  const why = make("div", "why");
  why.append(make("div", "text", row.reason));
  for (const detail of row.details) why.append(make("small", "", detail));
  const trend = make("div", "trend");
  const picture = spark(row, texts);
  if (picture) trend.append(picture);
  const age = make("div", "age", row.age);
  age.append(make("small", "", row.work));
  const zone = make("div", `zone ${row.zone ?? ""}`, row.zone ?? "");
  zone.dataset.said = row.zone ? texts.zone : "";
  link.replaceChildren(state, name, why, zone, trend, make("div", "life", row.life), age);
}

class MachineList {
  constructor(root) {
    this.root = root;
    this.frame = make("div", "list");
    this.bar = make("div", "bar");
    this.note = make("span", "held");
    this.note.setAttribute("aria-live", "polite");
    this.sort = make("button", "sort");
    this.sort.type = "button";
    this.sort.addEventListener("click", () => this.place());
    this.keep = make("button", "keep");
    this.keep.type = "button";
    this.keep.addEventListener("click", () => {
      this.kept = !this.kept;
      try { localStorage.setItem(KEEP, this.kept ? "1" : ""); } catch { /* a browser that keeps nothing asks again */ }
      this.order();
    });
    try { this.kept = localStorage.getItem(KEEP) === "1"; } catch { this.kept = false; }
    this.bar.append(this.note, this.sort, this.keep);
    this.head = make("div", "row head");
    this.head.style.setProperty("align-items", "end");
    this.rows = make("div", "rows");
    this.frame.append(this.bar, this.head, this.rows);
    root.append(this.frame);
    this.links = new Map();
    this.wanted = [];
    this.rows.addEventListener("pointerleave", () => this.order());
    this.rows.addEventListener("focusout", () => setTimeout(() => this.order(), 0));
  }

  get held() { return this.rows.matches(":hover") || this.rows.contains(this.root.activeElement ?? null); }

  take(data) {
    const { texts } = data;
    this.texts = texts;
    this.wanted = data.rows.map((row) => row.machine);
    this.head.replaceChildren(...["state", "name", "why", "zone", "trend", "life", "age"].map((area) => make("div", area, texts[`head_${area}`])));
    this.sort.textContent = texts.sort;
    this.keep.textContent = texts.keep;
    const known = new Set(this.wanted);
    for (const [machine, link] of this.links) if (!known.has(machine)) { link.remove(); this.links.delete(machine); }
    for (const row of data.rows) {
      let link = this.links.get(row.machine);
      const said = JSON.stringify(row);
      if (!link) {
        link = document.createElement("a");
        this.links.set(row.machine, link);
        this.rows.append(link);
      }
      if (link.said !== said) { link.said = said; fill(link, row, texts); }
    }
    if (this.shown !== data.view) this.place();
    this.shown = data.view;
    this.order();
  }

  order() {
    const now = [...this.rows.children].map((link) => link.dataset.machine);
    const same = now.length === this.wanted.length && now.every((machine, i) => machine === this.wanted[i]);
    if (!same && this.kept && !this.held) { this.place(); return; }
    this.keep.setAttribute("aria-pressed", String(this.kept));
    this.sort.hidden = same;
    this.note.textContent = same ? "" : this.kept ? this.texts.held : this.texts.changed;
  }

  place() {
    this.rows.append(...this.wanted.map((machine) => this.links.get(machine)));
    this.order();
  }
}

export default function render({ parentElement, data }) {
  let list = parentElement.undertoneList;
  if (!list) list = parentElement.undertoneList = new MachineList(parentElement);
  list.take(data);
  return () => { list.frame.remove(); delete parentElement.undertoneList; };
}
