// This file knows how the lines of a plant are drawn: a card each, grey while nothing is wrong, a link to its machines.

function card(line) {
  const link = make("a", `card${line.colour === "gray" ? " quiet" : ""}`);
  link.href = line.href;
  if (line.chosen) link.setAttribute("aria-current", "true");
  const state = make("div", "state");
  state.append(glyph(line), make("span", "word", line.word));
  link.append(make("b", "", line.name), state, make("small", "", line.counts), make("small", "", line.coverage));
  return link;
}

export default function render({ parentElement, data }) {
  let map = parentElement.undertoneMap;
  if (!map) {
    map = parentElement.undertoneMap = make("nav", "map");
    parentElement.append(map);
  }
  map.setAttribute("aria-label", data.title);
  const said = JSON.stringify(data.lines);
  if (map.said !== said) {
    map.said = said;
    map.replaceChildren(...data.lines.map(card));
  }
  return () => { map.remove(); delete parentElement.undertoneMap; };
}
