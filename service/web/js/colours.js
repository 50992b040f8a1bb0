// One scale for all signed numbers: blue below zero, paper at zero, red above.

const read = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

let scale = null;

/** Read the colours of the theme in force; call again when it changes. */
export function readTheme() {
  scale = { negative: channels(read("--negative")), zero: channels(read("--zero")), positive: channels(read("--positive")) };
}

/** Give the colour of a number in −1..1 as [red, green, blue]. */
export function signed(value) {
  if (!scale) readTheme();
  const end = value < 0 ? scale.negative : scale.positive;
  const share = Math.min(1, Math.abs(value) || 0) ** 0.8;
  return scale.zero.map((from, i) => Math.round(from + (end[i] - from) * share));
}

export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** Black or white, whichever is read more easily on a colour (WCAG's relative luminance). */
export function ink(colour) {
  const [red, green, blue] = colour.map((level) => {
    const share = level / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}

export const grey = (level) => Array(3).fill(Math.round(Math.min(255, Math.max(0, level))));

// From what hardly counts to what counts most, as /explain's pictures have it.
const HEAT = [[48, 18, 92], [160, 30, 110], [226, 72, 58], [250, 160, 50], [252, 240, 170]];

export function heat(value) {
  const at = Math.min(1, Math.max(0, value)) * (HEAT.length - 1);
  const below = Math.min(HEAT.length - 2, Math.floor(at));
  return HEAT[below].map((from, i) => from + (HEAT[below + 1][i] - from) * (at - below));
}
