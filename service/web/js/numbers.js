// Write numbers as people read them.

const MINUS = "\u2212";

/** Write a number with at most `digits` significant digits and a real minus sign. */
export function short(value, digits = 3) {
  if (value === null || value === undefined) return "";
  const rounded = Number.isInteger(value) && Math.abs(value) < 1e6 ? value : Number(value.toPrecision(Math.max(digits, Math.min(9, Math.floor(Math.log10(Math.abs(value) || 1)) + 2))));
  const text = Math.abs(rounded) >= 1e7 ? rounded.toExponential(digits - 1) : String(rounded);
  return text.replace("-", MINUS);
}

/** Write a share as a percentage; what is next to none or to all is not written as none or all. */
export function percent(share, digits = 1) {
  const least = 0.5 * 10 ** -(digits + 2);
  if (share > 0 && share < least) return `< ${(2 * least * 100).toFixed(digits)} %`;
  if (share < 1 && share > 1 - least) return `> ${((1 - 2 * least) * 100).toFixed(digits)} %`;
  return `${(share * 100).toFixed(digits)} %`;
}

/** Write a number in the room of a small cell: two decimals at most. */
export function compact(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  const text = String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
  return (text === "-0" ? "0" : text).replace("-", MINUS);
}

/** Read what was typed: a point or a comma, either minus sign; null where that is no number (yet). */
export function readNumber(text) {
  const number = Number(text.replace(MINUS, "-").replace(",", "."));
  return text.trim() !== "" && Number.isFinite(number) ? number : null;
}

export const count = (value) => value.toLocaleString("en");

export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

/** Write a negative number in brackets, as a factor or a summand. */
export const factor = (value, digits = 3) => (value < 0 ? `(${short(value, digits)})` : short(value, digits));
