// This file knows what stands below a chart: families to switch, the highest peaks, and what the score
// comes from; each leads to its place in the chart.

function cell(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function familyButtons(chart) {
  return chart.data.cursors.map((cursor, index) => {
    const made = chart.button("", filled(chart.said("family_help"), { name: cursor.label }), () => {
      if (!chart.off.delete(cursor.label)) chart.off.add(cursor.label);
      chart.showTables();
      chart.remember();
    });
    made.setAttribute("aria-pressed", String(!chart.off.has(cursor.label)));
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
  });
}

function peakTable(chart) {
  if (!chart.data.peaks.length) return [];
  const table = document.createElement("table"), head = document.createElement("tr"), body = document.createElement("tbody");
  const shaft = chart.data.shaft_hz, unit = chart.unitName();
  head.append(cell("th", "Hz"), ...(shaft ? [cell("th", chart.said("orders"))] : []), cell("th", unit), cell("th", chart.said("above_floor")), cell("th", chart.said("belongs_to"), "words"));
  for (const peak of chart.data.peaks) {
    const row = document.createElement("tr"), place = document.createElement("td");
    const go = chart.button(show(peak.hz, 5), filled(chart.said("peak_help"), { hz: show(peak.hz, 5) }), () => chart.lookAt(peak.hz));
    place.append(go);
    const value = chart.inVelocity() ? velocityAt(peak.value, peak.hz, chart.data) : peak.value;
    row.append(place, ...(shaft ? [cell("td", show(peak.hz / shaft, 4))] : []), cell("td", Number.isNaN(value) ? "–" : show(value)), cell("td", `${peak.prominence_db.toFixed(0)} dB`), cell("td", chart.cursor.likeliest(peak.hz), "words"));
    body.append(row);
  }
  const headed = document.createElement("thead");
  headed.append(head);
  table.append(headed, body);
  const thinned = chart.data.largest_of > 1;
  const frame = document.createElement("details");
  frame.open = chart.data.peaks_open;
  frame.append(cell("summary", filled(chart.said(thinned ? "peaks_thinned" : "peaks"), { count: chart.data.peaks.length, every: chart.data.largest_of })), table);
  return [frame];
}

function contributionBars(chart) {
  if (!chart.data.contributions.length) return [];
  const made = document.createElement("div");
  made.className = "contributions";
  made.append(cell("div", chart.said("contributions"), "title"));
  for (const part of chart.data.contributions) {
    const button = chart.button("", filled(chart.said("contribution_help"), { name: part.label }), () => {
      chart.pointedAt = [part.low, part.high];
      const wide = Math.max(part.high - part.low, 8 * chart.data.step);
      chart.setView(part.low - wide, part.high + wide);
      chart.canvas.scrollIntoView({ block: "center", behavior: "smooth" });
    });
    const bar = document.createElement("i");
    bar.style.width = `${Math.round(100 * Math.min(1, Math.max(0, part.share)))}%`;
    const track = cell("span", "", "track");
    track.append(bar);
    button.append(cell("span", `${Math.round(100 * part.share)} %`, "share"), track, cell("span", part.label));
    made.append(button);
  }
  return [made];
}
