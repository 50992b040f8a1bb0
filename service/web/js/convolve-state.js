// What the second view shows, and how it is written in the address, so that a teacher can send a link.

export const LARGEST_IMAGE = 16;
export const LARGEST_FILTER = 7;

export const IMAGES = {
  "vertical edge": () => [rows(6, () => [10, 10, 10, 0, 0, 0])],
  "dark to bright": () => [rows(6, () => [0, 0, 0, 10, 10, 10])],
  "horizontal edge": () => [rows(6, (row) => Array(6).fill(row < 3 ? 10 : 0))],
  corner: () => [rows(6, (row) => [...Array(3).fill(row < 3 ? 10 : 0), ...Array(3).fill(row < 3 ? 0 : 10)])],
  diagonal: () => [rows(7, (row) => Array.from({ length: 7 }, (_, column) => (column === row ? 10 : 0)))],
  dot: () => [rows(7, (row) => Array.from({ length: 7 }, (_, column) => (column === 3 && row === 3 ? 9 : 0)))],
  ramp: () => [rows(6, (row) => Array.from({ length: 6 }, (_, column) => row * 6 + column))],
  "RGB edge": () => [rows(6, () => [9, 9, 9, 1, 1, 1]), rows(6, () => [4, 4, 4, 4, 4, 4]), rows(6, () => [1, 1, 1, 8, 8, 8])],
};

const rows = (height, of) => Array.from({ length: height }, (_, row) => of(row));

export const KINDS = { convolution: "Convolution", max: "Max pooling", average: "Average pooling" };
export const BORDERS = { zeros: "zeros", replicate: "replicate the edge", reflect: "reflect", symmetric: "reflect with the edge", circular: "wrap around" };
export const PADDINGS = { valid: "none (valid)", same: "same size", full: "full", 1: "1", 2: "2", 3: "3" };

export const initial = () => ({
  kind: "convolution",
  image: IMAGES["vertical edge"](),
  filterName: "vertical-edge",
  filter: null, // 1 or as many channels as the image × f × f; null until the catalogue is here
  padding: "valid",
  padding_mode: "zeros",
  stride: 1,
  dilation: 1,
  flip: false,
  size: 2,
  step: 0,
});

/** Write a matrix of channels: rows parted by `;`, numbers by `,`, channels by `|`. */
export const writeMatrix = (channels) => channels.map((matrix) => matrix.map((row) => row.join(",")).join(";")).join("|");

/** Read one. Throws a sentence where it is none, or too large. */
export function readMatrix(text, what, largest) {
  const channels = text.split("|").map((channel) => channel.split(";").map((row) => row.split(",").map(readNumber)));
  const [first] = channels;
  const even = channels.every((matrix) => matrix.length === first.length && matrix.every((row) => row.length === first[0].length));
  if (channels.flat(2).some((value) => !Number.isFinite(value)) || !even || ![1, 3].includes(channels.length)) {
    throw new Error(`The ${what} of this link cannot be read.`);
  }
  if (Math.max(first.length, first[0].length) > largest) throw new Error(`The ${what} of this link is larger than ${largest}×${largest}.`);
  return channels;
}

const readNumber = (text) => (text.trim() === "" ? NaN : Number(text));

/** Read the address's values into a state; `complain` gets a sentence for what cannot be read. */
export function readState(values, catalogue, complain) {
  const state = initial();
  const attempt = (work) => {
    try {
      work();
    } catch (error) {
      complain(error);
    }
  };
  attempt(() => {
    if (values.image) state.image = readMatrix(values.image, "image", LARGEST_IMAGE);
  });
  attempt(() => {
    const named = catalogue.get(values.filter ?? state.filterName);
    if (named) Object.assign(state, { filterName: values.filter ?? state.filterName, filter: [named] });
    else Object.assign(state, { filterName: null, filter: readMatrix(values.filter, "filter", LARGEST_FILTER) });
  });
  if (!state.filter) Object.assign(state, { filter: [catalogue.get("vertical-edge")] });
  if (state.filter.length === 3 && state.image.length === 1) state.filter = [state.filter[0]];
  for (const [name, known] of [["kind", KINDS], ["padding_mode", BORDERS]]) if (Object.hasOwn(known, values[name])) state[name] = values[name];
  if (Object.hasOwn(PADDINGS, values.padding) || /^[0-9]$/.test(values.padding)) state.padding = values.padding === "0" ? "valid" : values.padding;
  for (const [name, most] of [["stride", 8], ["dilation", 4], ["size", LARGEST_FILTER]]) {
    const number = Number(values[name]);
    if (Number.isInteger(number) && number >= 1 && number <= most) state[name] = number;
  }
  state.flip = values.flip === "true";
  state.step = Math.max(0, (Number.parseInt(values.step, 10) || 1) - 1);
  return state;
}

/** What stands in the address: all that is not as it is at first. */
export function writeState(state) {
  const plain = initial();
  const pooling = state.kind !== "convolution";
  const values = { kind: pooling ? state.kind : null, image: writeMatrix(state.image) };
  if (pooling) values.size = state.size;
  else values.filter = state.filterName ?? writeMatrix(state.filter);
  for (const name of pooling ? ["padding", "stride"] : ["padding", "padding_mode", "stride", "dilation", "flip"]) {
    if (state[name] !== plain[name] || (pooling && name === "stride")) values[name] = state[name];
  }
  if (state.step) values.step = state.step + 1;
  return values;
}

const cells = (padding) => (/^\d$/.test(padding) ? Number(padding) : padding);

/** The request that computes a state. */
export function requestOf(state) {
  const layout = state.image.length > 1 ? { layout: "CHW" } : {};
  const image = state.image.length > 1 ? state.image : state.image[0];
  const padding = cells(state.padding);
  if (state.kind !== "convolution") return { image, ...layout, size: state.size, stride: state.stride, padding, kind: state.kind };
  const filter = state.filter.length > 1 ? state.filter : state.filter[0];
  const { padding_mode, stride, dilation, flip } = state;
  return { image, ...layout, filter, padding, padding_mode, stride, dilation, flip };
}
