// This file knows how what a chart shows leaves the browser: numbers, a picture, a sound, a link.

const LOUDEST = 0.9; // of full scale: what is heard is scaled, and the button says so

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function fileName(chart, kind) {
  return `${chart.data.file_name || chart.data.title}`.replace(/[^\w.-]+/g, "_").slice(0, 120) + `.${kind}`;
}

function csvCell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text; // no formula of a spreadsheet
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// All values of all lines, not only those in view, in the unit that is shown.
function csvText(chart) {
  const d = chart.data, timed = d.kind === "trend", unit = chart.unitName();
  const rows = [`# ${d.title.replaceAll("\n", " ")}`];
  if (timed) {
    rows.push(["line", "time_utc", unit ? `value_${unit}` : "value"].map(csvCell).join(","));
    for (const line of chart.painted()) line.y.forEach((value, i) => {
      if (value === value) rows.push([line.role, new Date(line.x[i]).toISOString(), String(value)].map(csvCell).join(","));
    });
    return rows.join("\n") + "\n";
  }
  const lines = chart.painted();
  rows.push([d.kind === "waveform" ? "time_s" : "frequency_hz", ...lines.map((line) => `${line.name || line.role}_${unit}`)].map(csvCell).join(","));
  for (let i = 0; i < d.count; i++) {
    rows.push([d.start + i * d.step, ...lines.map((line) => (line.y[i] === line.y[i] && i < line.y.length ? line.y[i] : ""))].join(","));
  }
  return rows.join("\n") + "\n";
}

// The picture on the ground of the page: a transparent one is unreadable elsewhere.
function picture(chart) {
  const made = document.createElement("canvas");
  made.width = chart.canvas.width;
  made.height = chart.canvas.height + 24 * (window.devicePixelRatio || 1);
  const g = made.getContext("2d"), ink = chart.colours(), scale = window.devicePixelRatio || 1;
  g.fillStyle = ink.ground;
  g.fillRect(0, 0, made.width, made.height);
  g.fillStyle = ink.text;
  g.font = `${13 * scale}px ${getComputedStyle(chart.frame).fontFamily}`;
  g.fillText(chart.data.title, 8 * scale, 16 * scale);
  g.drawImage(chart.canvas, 0, 24 * scale);
  return made;
}

// 16-bit mono WAV of a waveform, its largest sample at 0.9 of full scale.
function wavOf(chart) {
  const line = chart.lines.find((one) => one.role === "main"), values = line.y;
  const rate = Math.round(1 / chart.data.step);
  const mean = values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b - mean)), 0) || 1;
  const view = new DataView(new ArrayBuffer(44 + 2 * values.length));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * values.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * values.length, true);
  values.forEach((value, i) => view.setInt16(44 + 2 * i, Math.round((LOUDEST * 32767 * (value - mean)) / most), true));
  return { blob: new Blob([view.buffer], { type: "audio/wav" }), loudest_g: most };
}

function linkOf(chart) {
  const link = new URL(location.href);
  const [low, high] = chart.span();
  link.searchParams.set("look", `${chart.data.link_name}:${show(low, 6)}-${show(high, 6)}`);
  return link.href;
}

class Exports {
  constructor(chart) {
    this.chart = chart;
    this.bar = document.createElement("span");
    this.bar.className = "exports";
    this.bar.setAttribute("role", "group");
  }

  take() {
    const chart = this.chart, said = (key) => chart.said(key);
    const buttons = [
      chart.button("CSV", said("csv_help"), () => save(new Blob([csvText(chart)], { type: "text/csv" }), fileName(chart, "csv"))),
      chart.button("PNG", said("png_help"), () => picture(chart).toBlob((blob) => save(blob, fileName(chart, "png")))),
    ];
    if (chart.data.kind === "waveform") {
      buttons.push(chart.button("WAV", said("wav_help"), () => {
        const { blob, loudest_g } = wavOf(chart);
        save(blob, fileName(chart, "wav"));
        chart.tell(filled(said("scaled"), { most: show(loudest_g) }));
      }));
      buttons.push(chart.button(`▶ ${said("listen")}`, said("listen_help"), () => {
        const { blob, loudest_g } = wavOf(chart);
        this.sound?.pause();
        this.sound = new Audio(URL.createObjectURL(blob));
        chart.tell(filled(said("scaled"), { most: show(loudest_g) }));
        this.sound.play().catch(() => chart.tell(said("no_sound")));
      }));
    }
    if (chart.data.link_name) buttons.push(chart.button(said("link"), said("link_help"), () => {
      const link = linkOf(chart);
      chart.tell(link);
      navigator.clipboard?.writeText(link).catch(() => { /* the link stands below the chart, to be marked by hand */ });
    }));
    this.bar.setAttribute("aria-label", said("take_along"));
    this.bar.hidden = !chart.data.tools;
    this.bar.replaceChildren(...buttons);
  }
}
