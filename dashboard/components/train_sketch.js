// This file knows how a machine's train is drawn: lines only, in the colour of the text, with the state of each point
// above its place; what the glyphs stand for is listed below, each a link to its point.

const HEIGHT = 110, SHAFT = 68, TOP = 16;

function box(x, y, width, height, more = {}) {
  return draw("rect", { x, y, width, height, fill: "none", stroke: "currentColor", "stroke-width": 1.4, ...more });
}

function line(d) { return draw("path", { d, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }); }

const PARTS = {
  motor(x, width) {
    const fins = [0.25, 0.4, 0.55, 0.7].map((at) => `M${x + at * width} 52V84`).join("");
    return [box(x, 48, width, 40, { rx: 5 }), line(fins), line(`M${x + 0.15 * width} 88V94H${x + 0.85 * width}V88`)];
  },
  coupling(x, width) { return [box(x, 56, 0.4 * width, 24), box(x + 0.6 * width, 56, 0.4 * width, 24)]; },
  gear(x, width) {
    const [cx, r] = [x + width / 2, 0.28 * width];
    return [box(x, 44, width, 48), draw("circle", { cx, cy: SHAFT - r, r, fill: "none", stroke: "currentColor" }),
      draw("circle", { cx, cy: SHAFT + r * 0.8, r: 0.8 * r, fill: "none", stroke: "currentColor" })];
  },
  general(x, width) { return [box(x, 46, width, 46)]; },
  pump(x, width) {
    const [cx, r] = [x + 0.5 * width, 24];
    return [box(x, 58, width, 20), draw("circle", { cx, cy: SHAFT, r, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }),
      line(`M${cx + r} ${SHAFT}V38H${cx + r - 12}V47`), line(`M${cx - 9} ${SHAFT - 8}L${cx + 11} ${SHAFT}L${cx - 9} ${SHAFT + 8}Z`)];
  },
  fan(x, width) {
    const [cx, r] = [x + 0.5 * width, 26], leaf = 0.62 * r;
    return [box(x, 60, width, 16), draw("circle", { cx, cy: SHAFT, r, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }),
      line([0, 1, 2, 3].map((n) => {
        const a = (n * Math.PI) / 2 + 0.4;
        return `M${cx} ${SHAFT}Q${cx + leaf * Math.cos(a - 0.7)} ${SHAFT + leaf * Math.sin(a - 0.7)} ${cx + r * Math.cos(a)} ${SHAFT + r * Math.sin(a)}`;
      }).join(""))];
  },
  reciprocating(x, width) {
    return [box(x, 46, width, 46), box(x + 0.6 * width, 58, 0.25 * width, 20), line(`M${x + 0.2 * width} ${SHAFT}L${x + 0.6 * width} ${SHAFT}`)];
  },
};

function sketch(data) {
  const picture = draw("svg", { viewBox: `0 0 400 ${HEIGHT}`, role: "img", "aria-label": data.said });
  const ends = data.parts.map((part) => [4 * part.start, 4 * part.end]);
  for (let i = 1; i < ends.length; i++) picture.append(line(`M${ends[i - 1][1]} ${SHAFT}H${ends[i][0]}`));
  data.parts.forEach((part, i) => picture.append(...PARTS[part.kind](ends[i][0], ends[i][1] - ends[i][0])));
  const stacked = new Map();
  for (const spot of data.spots) {
    const x = 4 * spot.x, beside = stacked.get(spot.x) ?? 0;
    stacked.set(spot.x, beside + 1);
    const mark = glyph(spot);
    for (const [name, value] of Object.entries({ x: x - 10 + 24 * beside, y: TOP - 10, width: 20, height: 20 })) mark.setAttribute(name, value);
    const number = draw("text", { x: x + 24 * beside + 12, y: TOP + 4, "font-size": 11, fill: "currentColor" });
    number.textContent = spot.number;
    picture.append(draw("path", { d: `M${x} ${TOP + 12}V56`, stroke: "currentColor", "stroke-dasharray": "2 3" }), mark, number);
  }
  return picture;
}

function entry(spot) {
  const link = make("a", "spot");
  link.href = spot.href;
  link.append(make("span", "number", spot.number), glyph(spot), make("b", "", spot.name), make("span", "", spot.word), make("small", "", spot.text));
  return link;
}

export default function render({ parentElement, data }) {
  let frame = parentElement.undertoneTrain;
  if (!frame) {
    frame = parentElement.undertoneTrain = make("div", "train");
    parentElement.append(frame);
  }
  const said = JSON.stringify(data);
  if (frame.said !== said) {
    frame.said = said;
    const list = make("div", "spots");
    list.append(...data.spots.map(entry));
    frame.replaceChildren(sketch(data), list, make("small", "note", data.note));
  }
  return () => { frame.remove(); delete parentElement.undertoneTrain; };
}
