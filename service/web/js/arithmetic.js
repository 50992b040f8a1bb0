// One output cell written out: the window, the filter, their products, the sum.

import { grey, signed } from "./colours.js";
import { h } from "./dom.js";
import { miniature } from "./grid.js";
import { factor, short } from "./numbers.js";

const CHANNELS = ["red", "green", "blue"];
const most = (numbers) => Math.max(1e-12, ...numbers.flat(3).map((value) => Math.abs(value ?? 0)));

/** Give a function from a pixel's number to a grey, or to a shade of its channel. */
export function shades(image) {
  const numbers = image.flat(2);
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const pixels = low >= 0 && high <= 255 && high > 32;
  const [from, to] = pixels ? [0, 255] : [Math.min(0, low), Math.max(high, low + 1)];
  return (value, channel = null) => {
    const level = grey(((value - from) / (to - from)) * 255);
    if (channel === null) return level;
    return level.map((one, i) => (i === channel ? 64 + 0.75 * one : 0.35 * one)).map(Math.round);
  };
}

/** Turn a filter by half a turn, as the mathematician's convolution does. */
export const turned = (matrix) => matrix.map((row) => [...row].reverse()).reverse();

function described(content, text) {
  return h("figure", { class: "term" }, content, h("figcaption", {}, text));
}

const sign = (text) => h("span", { class: "sign", "aria-hidden": "true" }, text);

/** Write out a step of a convolution: a line a channel, then the sum. */
export function convolutionStep(step, state) {
  const several = state.image.length > 1;
  const windows = several ? step.window : [step.window];
  const products = several ? step.products : [step.products];
  const shade = shades(state.image);
  const scales = { taps: most(state.filter), products: most(products) };
  const lines = windows.map((window, channel) => {
    const filter = state.filter[channel % state.filter.length];
    const taps = state.flip ? turned(filter) : filter;
    const name = several ? `${CHANNELS[channel]} ` : "";
    const part = products[channel].flat().reduce((sum, value) => sum + value, 0);
    return h(
      "div",
      { class: "equation" },
      described(miniature(window, (value) => shade(value, several ? channel : null), { label: `${name}window` }), `${name}window`),
      sign("×"),
      described(miniature(taps, (value) => signed(value / scales.taps), { label: `${name}filter` }), state.flip ? "filter, turned" : "filter"),
      sign("="),
      described(miniature(products[channel], (value) => signed(value / scales.products), { label: `${name}products` }), "products"),
      several ? h("span", { class: "partial" }, `Σ ${short(part, 5)}`) : null,
    );
  });
  const summands = products.flat(2);
  const text = summands.length <= 9 ? `${summands.map((value) => factor(value)).join(" + ")} = ` : `Sum of all ${summands.length} products = `;
  return [...lines, h("p", { class: "total" }, text, h("strong", { id: "step-sum" }, short(step.sum, 6)))];
}

/** Write out a step of a pooling. */
export function poolingStep(step, state) {
  const shade = shades(state.image);
  const several = state.image.length > 1;
  const numbers = step.window.flat().filter((value) => value !== null);
  const text =
    state.kind === "max"
      ? `The largest of ${numbers.map((value) => short(value)).join(", ")} is `
      : `(${numbers.map((value) => factor(value)).join(" + ")}) / ${step.window.flat().length} = `;
  const chosen = (row, column) => (state.kind === "max" && step.window[row][column] === step.result ? "chosen" : "");
  return [
    h("div", { class: "equation" }, described(miniature(step.window, (value) => shade(value, several ? step.channel : null), { classOf: chosen, label: "window" }), several ? `${CHANNELS[step.channel]} window` : "window")),
    h("p", { class: "total" }, text, h("strong", { id: "step-sum" }, short(step.result, 6))),
  ];
}
