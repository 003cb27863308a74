// This file knows how a state is drawn: a shape with a letter in it, beside which a word stands; shared by what lists
// machines, lines and points.

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  square: "M3 3H17V17H3Z", triangle: "M10 2L18.5 17.5H1.5Z", circle: "M10 2A8 8 0 1 1 9.99 2Z",
  diamond: "M10 1L19 10L10 19L1 10Z", hatched: "M3 3H17V17H3Z", ring: "M10 3A7 7 0 1 1 9.99 3Z",
  shelf: "M2.5 5H17.5V12H2.5ZM1 16.5H19",
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
  const hollow = ["ring", "hatched", "shelf"].includes(row.shape);
  picture.append(draw("path", { d: SHAPES[row.shape], fill: hollow ? "none" : colour, stroke: colour, "stroke-width": 1.5 }));
  if (row.shape === "hatched") picture.append(draw("path", { d: "M3 9L9 3M3 15L15 3M6 17L17 6M12 17L17 12", stroke: colour, "stroke-width": 1 }));
  if (row.letter && row.shape !== "pause") {
    const low = { triangle: 15.5, shelf: 11.5 }[row.shape] ?? 14;
    const letter = draw("text", {
      x: 10, y: low, "text-anchor": "middle", "font-size": { triangle: 10, shelf: 8 }[row.shape] ?? 11, "font-weight": 700,
      fill: hollow ? "var(--st-text-color)" : "var(--st-background-color)",
    });
    letter.textContent = row.letter;
    picture.append(letter);
  }
  return picture;
}
