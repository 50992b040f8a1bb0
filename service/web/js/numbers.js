// Write numbers as people read them.

const MINUS = "\u2212";

/** Write a number with at most `digits` significant digits and a real minus sign. */
export function short(value, digits = 3) {
  if (value === null || value === undefined) return "";
  const rounded = Number.isInteger(value) && Math.abs(value) < 1e6 ? value : Number(value.toPrecision(digits));
  const text = Math.abs(rounded) >= 1e7 ? rounded.toExponential(digits - 1) : String(rounded);
  return text.replace("-", MINUS);
}

export const percent = (share, digits = 1) => `${(share * 100).toFixed(share > 0.9995 || share < 0.0005 ? 0 : digits)} %`;

export const count = (value) => value.toLocaleString("en");

export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

/** Write a negative number in brackets, as a factor or a summand. */
export const factor = (value, digits = 3) => (value < 0 ? `(${short(value, digits)})` : short(value, digits));
