// This file knows how the list of machines is drawn: worst first, each row a link by the machine's name, and beside it
// what can be done at once: open its case, shelve it, take its report; by name too, never by place. The order stands
// until somebody sorts anew, or, kept sorted, while somebody points at the list: no row moves under a finger.

const KEEP = "undertone:keep-sorted";

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

function fillLink(link, row, texts) {
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

function fill(item, row, texts, act) {
  item.dataset.row = row.machine;
  if (!item.firstChild) item.append(document.createElement("a"), make("div", "acts"));
  const [link, acts] = item.children;
  fillLink(link, row, texts);
  const offered = JSON.stringify([row.case, row.acts]);
  if (acts.dataset.offered === offered) return; // who is about to press a button keeps it
  acts.dataset.offered = offered;
  acts.replaceChildren();
  if (row.case) {
    const open = make("a", "act", row.case.text);
    open.href = row.case.href;
    acts.append(open);
  }
  for (const [action, text] of row.acts) {
    const button = make("button", "act", text);
    button.type = "button";
    button.setAttribute("aria-label", `${text}: ${row.title}`);
    button.addEventListener("click", () => act(action, row.machine));
    acts.append(button);
  }
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
    this.items = new Map();
    this.wanted = [];
    this.rows.addEventListener("pointerleave", () => this.order());
    this.rows.addEventListener("focusout", () => setTimeout(() => this.order(), 0));
  }

  get held() { return this.rows.matches(":hover") || this.rows.contains(this.root.activeElement ?? null); }

  take(data, act) {
    const { texts } = data;
    this.act = act;
    this.texts = texts;
    this.wanted = data.rows.map((row) => row.machine);
    this.head.replaceChildren(...["state", "name", "why", "zone", "trend", "life", "age"].map((area) => make("div", area, texts[`head_${area}`])));
    this.sort.textContent = texts.sort;
    this.keep.textContent = texts.keep;
    const known = new Set(this.wanted);
    for (const [machine, item] of this.items) if (!known.has(machine)) { item.remove(); this.items.delete(machine); }
    for (const row of data.rows) {
      let item = this.items.get(row.machine);
      const said = JSON.stringify(row);
      if (!item) {
        item = make("div", "item");
        this.items.set(row.machine, item);
        this.rows.append(item);
      }
      if (item.said !== said) { item.said = said; fill(item, row, texts, (...what) => this.act(...what)); }
    }
    if (this.shown !== data.view) this.place();
    this.shown = data.view;
    this.order();
  }

  order() {
    const now = [...this.rows.children].map((item) => item.dataset.row);
    const same = now.length === this.wanted.length && now.every((machine, i) => machine === this.wanted[i]);
    if (!same && this.kept && !this.held) { this.place(); return; }
    this.keep.setAttribute("aria-pressed", String(this.kept));
    this.sort.hidden = same;
    this.note.textContent = same ? "" : this.kept ? this.texts.held : this.texts.changed;
  }

  place() {
    this.rows.append(...this.wanted.map((machine) => this.items.get(machine)));
    this.order();
  }
}

export default function render({ parentElement, data, setTriggerValue }) {
  let list = parentElement.undertoneList;
  if (!list) list = parentElement.undertoneList = new MachineList(parentElement);
  list.take(data, (action, machine) => setTriggerValue("act", { action, machine }));
  return () => { list.frame.remove(); delete parentElement.undertoneList; };
}
