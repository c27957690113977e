/** Numbers for people. */

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 0.000_999_5) return `${digits(seconds * 1e6)} µs`;
  if (seconds < 0.999_5) return `${digits(seconds * 1e3)} ms`;
  if (seconds < 59.95) return `${digits(seconds)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}

const pad = (n: number): string => String(n).padStart(2, "0");

function digits(value: number): string {
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

const GROUPED = new Intl.NumberFormat("en");

export function count(value: number): string {
  return GROUPED.format(value);
}

/** In full as long as there is room for it. */
export function large(value: number): string {
  return value < 1e6 ? count(value) : compact(value);
}

export function compact(value: number): string {
  if (value < 10_000) return count(value);
  return value < 1e6 ? `${(value / 1e3).toFixed(value < 1e5 ? 1 : 0)}k` : `${(value / 1e6).toFixed(1)}M`;
}

export function cost(value: number | null): string {
  if (value === null) return "–";
  return value !== 0 && value < 0.01 ? value.toPrecision(2) : value.toFixed(value < 1 ? 3 : 2);
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function clockTime(unixSeconds: number): string {
  if (!Number.isFinite(unixSeconds)) return "–";
  const date = new Date(unixSeconds * 1e3);
  if (Number.isNaN(date.getTime())) return "–";
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(":");
}

/** Steps of 1, 2 or 5 times a power of ten, about `wanted` of them in `range`. */
export function tickStep(range: number, wanted: number): number {
  const rough = range / Math.max(wanted, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((step) => step * power >= rough) ?? 10;
  return factor * power;
}
