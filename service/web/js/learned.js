// The filters that the first convolution has learned, as pictures.

import * as api from "./api.js";
import { signed } from "./colours.js";
import { h } from "./dom.js";

const MOST = 64;

/** A card with the first layer's filters: in colour where they look at RGB. */
export async function learned(model, layers) {
  const { filters, shape } = await api.learnedFilters(model);
  const [count, channels, height, width] = shape;
  const layer = layers.find((one) => one.kind === "convolution");
  const tiles = filters.slice(0, MOST).map((filter, index) =>
    h("canvas", { class: "pixels", role: "img", "aria-label": `Filter ${index + 1}` }),
  );
  tiles.forEach((canvas, index) => paintFilter(canvas, filters[index], channels, height, width));
  return h(
    "section",
    { class: "card learned", "aria-label": "Learned filters" },
    h("h2", {}, "What the first layer has learned to look for"),
    h("p", { class: "note" }, `The ${count} filters of ${layer?.name ?? "the first convolution"}, ${height}×${width}${channels === 3 ? " in red, green and blue: grey is no weight, a colour means more of it" : ""}.`),
    h("div", { class: "filters-row" }, tiles),
  );
}

/** Paint a filter: three channels as a colour around grey, each filter by its own largest weight. */
function paintFilter(canvas, filter, channels, height, width) {
  Object.assign(canvas, { height, width });
  const most = Math.max(1e-12, ...filter.flat(2).map(Math.abs));
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    const at = (channel) => filter[channel][Math.floor(i / width)][i % width] / most;
    const colour = channels === 3 ? [0, 1, 2].map((channel) => Math.round(127.5 + 127.5 * at(channel))) : signed(at(0));
    image.data.set([...colour, 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
