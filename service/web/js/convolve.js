// The second view: an image, a filter, the window between them, and what comes out.

import * as api from "./api.js";
import { convolutionStep, poolingStep, shades, turned } from "./arithmetic.js";
import { signed } from "./colours.js";
import { controls } from "./convolve-controls.js";
import { initial, readState, requestOf, writeState } from "./convolve-state.js";
import { announce, byId, debounce, fill, h, newest, problem } from "./dom.js";
import { formula } from "./formula.js";
import { Grid } from "./grid.js";
import { readNumber, short } from "./numbers.js";
import { patch } from "./patch.js";
import { player } from "./player.js";
import { writeAddress } from "./route.js";
import { onChange } from "./store.js";
import { whole } from "./whole.js";

const CHANNELS = ["red", "green", "blue"];

let active = false;
let state = initial();
let catalogue = null; // name -> matrix
let finds = null; // name -> what it finds
let answer = null; // of the service, with steps
let padded = null; // channels of the image with its padding around
let built = null; // the parts of the view

export function start() {
  onChange((changed) => {
    if (active && built && ("picture" in changed || "theme" in changed)) {
      built.patch.update();
      built.whole.update(state);
      draw();
    }
  });
}

export async function show(values) {
  active = true;
  try {
    await loadCatalogue();
  } catch (error) {
    fill(byId("convolve-body"), problem(error));
    return;
  }
  if (!built) build();
  built.player.stop();
  const complaints = [];
  if (Object.keys(values).length || !answer) state = readState(values, catalogue, (error) => complaints.push(error));
  built.controls.show(state);
  built.patch.update();
  await compute();
  const place = byId("convolve-body");
  if (!place.firstChild) fill(place, built.all); // with its first numbers in place: nothing jumps
  if (complaints.length) fill(built.problem, complaints.map(problem));
}

export function hide() {
  active = false;
  built?.player.stop();
}

async function loadCatalogue() {
  if (catalogue) return;
  const filters = await api.filters();
  catalogue = new Map(filters.map((one) => [one.name, one.matrix]));
  finds = new Map(filters.map((one) => [one.name, one.finds]));
}

function build() {
  const parts = {
    images: h("div", { class: "grids" }),
    filters: h("div", { class: "grids" }),
    outputs: h("div", { class: "grids" }),
    title: h("h2", {}, "Filter"),
    finds: h("p", { class: "note finds" }),
    problem: h("div", {}),
    size: h("section", { class: "card size", "aria-label": "The output's size" }),
    steps: h("section", { class: "card steps", "aria-label": "This cell, written out" }),
  };
  parts.player = player(goTo, describeStep);
  parts.controls = controls(catalogue, change);
  parts.patch = patch((image) => change({ image }));
  parts.whole = whole();
  built = parts;
  parts.all = [
    parts.controls.element,
    parts.problem,
    (parts.bench = h(
      "section",
      { class: "card bench", "aria-label": "Image, filter, output" },
      h("div", { class: "column image" }, h("h2", {}, "Image"), parts.images),
      h("div", { class: "column filter" }, parts.title, parts.filters, parts.finds),
      h("div", { class: "column output" }, h("h2", {}, "Output"), parts.outputs),
      parts.player.element,
    )),
    (parts.pair = h("div", { class: "pair" }, parts.steps, parts.size)),
    parts.patch.element,
    parts.whole.element,
  ];
}

/** Take new values into the state, and compute. */
function change(values) {
  built.player.stop(); // first: it draws the state that it stops in
  Object.assign(state, values, { step: 0 });
  if ("image" in values && state.filter.length > 1 && state.image.length === 1) {
    Object.assign(state, { filter: [state.filter[0]], filterName: null });
  }
  built.controls.show(state);
  computeSoon();
}

const compute = newest(async (signal) => {
  try {
    const body = requestOf(state);
    const computed = state.kind === "convolution" ? await api.convolve(body, true, signal) : await api.pool(body, true, signal);
    padded = await pad(computed.size, signal);
    answer = { ...computed, asked: JSON.stringify(body), steps: computed.steps.map((step) => ({ channel: 0, ...step })) };
    state.step = Math.min(state.step, cellsOf(answer) - 1);
    fill(built.problem);
    draw();
    save();
    built.whole.update(state);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    fill(built.problem, problem(error));
  }
  // A link refused at once has nothing to show beside the sentence and the settings to mend it with.
  for (const part of [built.bench, built.pair]) part.hidden = answer === null;
});
const computeSoon = debounce(compute, 120);
const save = debounce(() => active && writeAddress("convolve", writeState(state)), 150);

const sides = (axis) => [axis.before ?? axis.p, axis.after ?? axis.p];

/** The image with its padding: itself a convolution, with the filter [1]. Max pooling has none to show. */
async function pad(size, signal) {
  const padding = [...sides(size.height), ...sides(size.width)];
  if (padding.every((cells) => cells === 0)) return state.image;
  if (state.kind === "max") return surround(state.image, padding, null);
  const several = state.image.length > 1;
  const body = { image: several ? state.image : state.image[0], filter: [[1]], padding };
  if (several) Object.assign(body, { layout: "CHW", per_channel: true });
  if (state.kind === "convolution") body.padding_mode = state.padding_mode;
  const { output } = await api.convolve(body, false, signal);
  return several ? output : [output];
}

function surround(image, [top, bottom, left, right], value) {
  return image.map((matrix) => {
    const width = matrix[0].length + left + right;
    const rows = (height) => Array.from({ length: height }, () => Array(width).fill(value));
    const sidesOf = (cells) => Array(cells).fill(value);
    return [...rows(top), ...matrix.map((row) => [...sidesOf(left), ...row, ...sidesOf(right)]), ...rows(bottom)];
  });
}

const outputsOf = ({ output }) => (Array.isArray(output[0][0]) ? output : [output]);
const cellsOf = (computed) => computed.size.height.result * computed.size.width.result;
const place = (step) => ({ row: Math.floor(step / answer.size.width.result), column: step % answer.size.width.result });
const stepsAt = (step) => {
  const { row, column } = place(step);
  return answer.steps.filter((one) => one.row === row && one.column === column);
};

function goTo(step) {
  state.step = step;
  if (!isDrawable()) return;
  drawWindow();
  drawOutput();
  drawSteps();
  save();
}

/** Whether what is computed belongs to what is asked: not after a refusal, nor before an answer. */
const isDrawable = () => answer !== null && answer.asked === JSON.stringify(requestOf(state));

function draw() {
  if (!isDrawable()) return;
  built.bench.classList.toggle("several", state.image.length > 1);
  built.player.set(cellsOf(answer), state.step);
  drawFilter();
  drawWindow();
  drawOutput();
  drawSteps();
  fill(built.size, formula(answer.size, state.kind));
}

function describeStep(step) {
  if (!answer) return "";
  const { row, column } = place(step);
  return `Cell ${step + 1} of ${cellsOf(answer)}: row ${row + 1}, column ${column + 1}`;
}

/** As many grids as there are channels, made once and kept, so that the focus stays where it is. */
function gridsFor(holder, channels, make) {
  if (holder.grids?.length !== channels) {
    holder.grids = Array.from({ length: channels }, (_, channel) => make(channel));
    fill(holder, holder.grids.map((grid, channel) => (channels > 1 ? h("div", {}, h("p", { class: "channel" }, CHANNELS[channel]), grid.element) : grid.element)));
  }
  return holder.grids;
}

const named = (what, channel, channels) => (channels > 1 ? `${what}, ${CHANNELS[channel]}` : what);

/** The image, its padding, and the window at this step. */
function drawWindow() {
  const { height, width } = answer.size;
  const [[top], [left]] = [sides(height), sides(width)];
  const rows = padded[0].length;
  const columns = padded[0][0].length;
  const shade = shades(state.image);
  const { row, column } = place(state.step);
  const channels = state.image.length;
  const grids = gridsFor(built.images, channels, (channel) => new Grid(named("Image", channel, channels), { onEdit: (r, c, text) => editImage(channel, r, c, text) }));
  const taps = state.filter.map((matrix) => (state.flip ? turned(matrix) : matrix));
  const tapAt = (r, c) => {
    const at = [r - row * height.s, c - column * width.s].map((offset, axis) => offset / ((axis ? width : height).d ?? 1));
    return at.every(Number.isInteger) && at[0] >= 0 && at[0] < height.f && at[1] >= 0 && at[1] < width.f ? at : null;
  };
  grids.forEach((grid, channel) => {
    const inside = (r, c) => r >= top && r < top + height.n && c >= left && c < left + width.n;
    grid.shape(rows, columns, (r, c) => !inside(r, c), `${top},${left},${height.n},${width.n}`);
    for (let r = 0; r < rows; r += 1) {
      for (let c = 0; c < columns; c += 1) {
        const value = padded[channel][r][c];
        const tap = tapAt(r, c);
        const isInside = inside(r, c);
        const remark = tap && state.kind === "convolution" ? `×${short(taps[channel % taps.length][tap[0]][tap[1]], 2)}` : "";
        grid.set(r, c, value, {
          colour: isInside ? shade(value, channels > 1 ? channel : null) : null,
          remark,
          classes: `${isInside ? "" : "padding"} ${tap ? "under" : ""}`,
          name: isInside ? `row ${r - top + 1}, column ${c - left + 1}` : "padding",
        });
      }
    }
  });
}

function drawFilter() {
  const pooling = state.kind !== "convolution";
  built.title.textContent = pooling ? "Window" : "Filter";
  built.finds.textContent = pooling
    ? `Keeps ${state.kind === "max" ? "the largest number" : "the average"} of every ${state.size}×${state.size} window. Nothing in it is learned.`
    : state.filterName
      ? `Finds ${finds.get(state.filterName)}.`
      : "Your own filter.";
  built.filters.hidden = pooling;
  if (pooling) return;
  const channels = state.filter.length;
  const most = Math.max(1e-12, ...state.filter.flat(2).map(Math.abs));
  const grids = gridsFor(built.filters, channels, (channel) => new Grid(named("Filter", channel, channels), { onEdit: (r, c, text) => editFilter(channel, r, c, text) }));
  grids.forEach((grid, channel) => {
    const matrix = state.filter[channel];
    grid.shape(matrix.length, matrix[0].length);
    matrix.forEach((line, r) => line.forEach((value, c) => grid.set(r, c, value, { colour: signed(value / most) })));
  });
}

function drawOutput() {
  const outputs = outputsOf(answer);
  const { row, column } = place(state.step);
  const channels = outputs.length;
  const most = Math.max(1e-12, ...outputs.flat(2).map(Math.abs));
  const pick = (r, c) => {
    if (!isDrawable()) return;
    const step = r * answer.size.width.result + c;
    if (step === state.step || built.player.isPlaying()) return;
    built.player.set(cellsOf(answer), step);
    goTo(step);
  };
  const grids = gridsFor(built.outputs, channels, (channel) => new Grid(named("Output", channel, channels), { onPick: pick }));
  grids.forEach((grid, channel) => {
    const matrix = outputs[channel];
    grid.shape(matrix.length, matrix[0].length);
    matrix.forEach((line, r) =>
      line.forEach((value, c) => {
        const here = r === row && c === column;
        const later = built.player.isPlaying() && (r > row || (r === row && c > column));
        grid.set(r, c, later ? null : value, {
          colour: later ? null : signed(value / most),
          classes: here ? "here" : "",
          name: `row ${r + 1}, column ${c + 1}${later ? "" : `: ${short(value, 6)}`}`,
        });
      }),
    );
    grid.at = { row, column };
    grid.stop();
  });
}

function drawSteps() {
  const steps = stepsAt(state.step);
  const { row, column } = place(state.step);
  const write = state.kind === "convolution" ? convolutionStep : poolingStep;
  fill(built.steps, h("h2", {}, `Row ${row + 1}, column ${column + 1}`), steps.map((step) => write(step, state)));
  if (document.activeElement?.closest?.(".player, .output")) announce(`${describeStep(state.step)}: ${steps.map((step) => short(step.sum ?? step.result, 6)).join(", ")}`);
}

function editImage(channel, r, c, text) {
  const number = readNumber(text);
  if (number === null) return; // half typed: "-"
  const [[top], [left]] = [sides(answer.size.height), sides(answer.size.width)];
  state.image = state.image.map((matrix) => matrix.map((line) => [...line]));
  if (state.image[channel]?.[r - top]?.[c - left] === undefined) return; // the grid shows another image
  state.image[channel][r - top][c - left] = number;
  built.controls.show(state);
  computeSoon();
}

function editFilter(channel, r, c, text) {
  const number = readNumber(text);
  if (number === null) return;
  state.filter = state.filter.map((matrix) => matrix.map((line) => [...line]));
  state.filter[channel][r][c] = number;
  state.filterName = null;
  built.controls.show(state);
  computeSoon();
}
