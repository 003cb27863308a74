// This file knows how numbers, times and packed values are read and written for a chart.

const MINUTE = 60e3, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const TIME_STEPS = [1e3, 5e3, 15e3, 30e3, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR,
  12 * HOUR, DAY, 2 * DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY];

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

function momentText(ms) { return new Date(ms).toLocaleString(); }

// Fills {name} in a text of the viewer's language.
function filled(text, values) { return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole); }

function percent(share) { return `${share >= 0 ? "+" : ""}${(100 * share).toFixed(1)} %`; }

// A line of an acceleration spectrum as velocity, RMS: its peak over 2 pi f, over the root of 2, times what turns the
// one unit into the other. Not given below velocity_from_hz, where the integration would show a ski slope.
function velocityAt(value, hz, data) {
  return hz < data.velocity_from_hz || hz <= 0 ? NaN : (value * data.velocity_scale) / (2 * Math.PI * hz * Math.SQRT2);
}

function velocityOf(values, data) {
  const made = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) made[i] = velocityAt(values[i], data.start + i * data.step, data);
  return made;
}
