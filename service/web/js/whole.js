// The filter, or the pooling, on the whole picture: before and after, side by side.

import * as api from "./api.js";
import { requestOf } from "./convolve-state.js";
import { debounce, fill, h, newest, problem } from "./dom.js";
import { sampleButtons } from "./picture.js";
import { readPixels, shrink, toBlob } from "./shrink.js";
import { store } from "./store.js";

const FILTERED_SIDE = 640; // pixels; what a page shows, and quick
const POOLED_SIDE = 160; // as numbers in JSON
const NORMALIZE = { abs: "magnitudes", clip: "cut off below 0 and above 255", minmax: "stretched to 0..255" };

export function whole() {
  const before = h("figure", { id: "before" });
  const after = h("figure", { id: "after" });
  const normalize = h("select", { onchange: () => last && update(last) }, Object.entries(NORMALIZE).map(([value, text]) => h("option", { value }, text)));
  const choice = h("label", { class: "field" }, h("span", {}, "Show results as"), normalize);
  const element = h(
    "section",
    { class: "card whole", "aria-labelledby": "whole-title" },
    h("h2", { id: "whole-title" }, "On the whole picture"),
    h("div", { class: "before-after" }, before, after),
    h("div", { class: "row under" }, choice, h("div", { class: "field" }, h("span", {}, "Or another picture: drop one, or"), h("div", { class: "samples", role: "group", "aria-label": "Samples" }, sampleButtons()))),
  );
  let last = null;
  let chosen = false;
  let shown = null; // the picture that stands under "Before"
  normalize.addEventListener("change", () => (chosen = true));

  const compute = newest(async (signal, state) => {
    const { picture } = store;
    const pooling = state.kind !== "convolution";
    choice.hidden = pooling;
    try {
      const canvas = await shrink(picture.blob, pooling ? POOLED_SIDE : FILTERED_SIDE);
      const result = pooling ? await pooled(canvas, state, signal) : await filtered(canvas, state, normalize.value, signal);
      signal.throwIfAborted();
      show(before, canvas, `Before: ${canvas.height}×${canvas.width}`, pooling);
      shown = picture;
      show(after, result, `After: ${result.height}×${result.width}`, pooling);
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      if (shown !== picture) fill(before);
      fill(after, problem(error));
    }
  });
  const soon = debounce(compute, 200);

  /** Compute anew for a state of the view. */
  function update(state) {
    last = { ...state };
    if (!store.picture) return;
    // Sums of either sign are edges: their magnitude is what one looks for.
    if (!chosen) normalize.value = state.filter.flat(2).some((value) => value < 0) ? "abs" : "clip";
    soon(last);
  }

  return { element, update };
}

function show(figure, canvas, caption, sharp) {
  canvas.className = sharp ? "pixels" : "";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  fill(figure, canvas, h("figcaption", {}, caption));
}

async function filtered(canvas, state, normalize, signal) {
  const { filter, padding, padding_mode, stride, dilation, flip } = requestOf({ ...state, image: state.filter });
  const fields = { padding, padding_mode, stride, dilation, flip, normalize };
  fields.filter = JSON.stringify(filter);
  if (state.filter.length > 1) Object.assign(fields, { layout: "CHW", per_channel: false });
  const png = await api.convolvePicture(await toBlob(canvas), fields, signal);
  return shrink(png, Infinity);
}

async function pooled(canvas, state, signal) {
  const { output } = await api.pool(requestOf({ ...state, image: readPixels(canvas) }), false, signal);
  const [height, width] = [output[0].length, output[0][0].length];
  const result = document.createElement("canvas");
  Object.assign(result, { height, width });
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    const [row, column] = [Math.floor(i / width), i % width];
    image.data.set([...output.map((channel) => channel[row][column]), 255], 4 * i);
  }
  result.getContext("2d").putImageData(image, 0, 0);
  return result;
}
