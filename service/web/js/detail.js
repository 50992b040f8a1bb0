// One feature map, one cell of it, and the numbers that cell was computed from.

import * as api from "./api.js";
import { signed } from "./colours.js";
import { announce, fill, h, newest, problem } from "./dom.js";
import { miniature } from "./grid.js";
import { compact, factor, short } from "./numbers.js";
import { store } from "./store.js";
import { magnitude, outline, paint, picker } from "./tiles.js";

const CHANNELS_SHOWN = 3; // those that count most; all where there are few
const TERMS_SHOWN = 8;

/** The panel below a layer. `context`: the picture as a Blob, the model, all layers and their maps. */
export function detail(layer, channel, context, close) {
  const vector = layer.output_shape.length === 1;
  const single = layer.output_shape.length === 2;
  const [rows, columns] = vector ? vectorShape(layer) : layer.output_shape.slice(-2);
  const result = h("div", { class: "working" });
  const source = h("div", { class: "source" });
  const numbers = vector ? layer.numbers : context.maps.get(layer.name)[channel];
  const canvas = h("canvas", { class: "pixels" });
  if (vector) paint(canvas, Float32Array.from({ length: rows * columns }, (_, i) => numbers[i] ?? 0), rows, columns, magnitude(layer));
  else paint(canvas, numbers, layer.maps.height, layer.maps.width, magnitude(layer));
  const title = vector ? layer.name : `${layer.name}, map ${channel + 1}`;

  const caption = h("figcaption", {});
  const ask = newest(async (signal, place) => {
    const { row, column } = place;
    caption.textContent = `${title}: ${row === undefined ? `number ${place.channel + 1} of ${layer.output_shape[0]}` : `row ${row + 1}, column ${column + 1}`}. Choose any cell.`;
    try {
      const answer = await api.cell(context.blob, context.model, layer.name, place, signal);
      fill(result, working(answer, layer, context));
      showSource(source, answer, context);
      announce(`Value ${short(answer.value, 4)}`);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      fill(result, problem(error));
    }
  });
  const placeOf = (row, column) => {
    if (vector) return { channel: Math.min(numbers.length - 1, row * columns + column) };
    return single ? { row, column } : { channel, row, column };
  };
  const pick = picker(canvas, rows, columns, title, (row, column) => ask(placeOf(row, column)));
  const start = vector ? [Math.floor(channel / columns), channel % columns] : [Math.floor(rows / 2), Math.floor(columns / 2)];
  pick.mark(...start);
  ask(placeOf(...start));
  return h(
    "section",
    { class: "card detail", "aria-label": title },
    h("header", {}, h("h4", {}, title), h("button", { type: "button", class: "quiet", onclick: close }, "Close")),
    h("div", { class: "looking" }, source, h("figure", { class: vector ? "result wide" : "result" }, pick.element, caption)),
    result,
  );
}

function vectorShape(layer) {
  const columns = Math.min(layer.numbers.length, 40);
  return [Math.ceil(layer.numbers.length / columns), columns];
}

/** The map that the window lies on, with the window on it. */
function showSource(place, answer, context) {
  const name = answer.inputs[0];
  const layer = context.layers.get(name);
  const { place: at } = answer;
  if (!at || (!layer?.maps && name !== "input")) {
    fill(place);
    return;
  }
  const strongest = answer.sums ? indexOfLargest(answer.sums) : 0;
  const channel = at.channel + strongest;
  const maps = context.maps.get(name);
  const frame = h("span", { class: "cell-mark" });
  let image = h("img", { src: context.input.url, class: "pixels", alt: "" });
  let [rows, columns] = context.input.shape.slice(-2);
  if (layer) {
    [rows, columns] = layer.output_shape.slice(-2);
    if (!maps[channel]) {
      fill(place); // beyond the maps that are sent
      return;
    }
    image = paint(h("canvas", { class: "pixels" }), maps[channel], layer.maps.height, layer.maps.width, magnitude(layer));
  }
  outline(frame, rows, columns, { top: at.top, left: at.left, height: at.height ?? 1, width: at.width ?? 1 });
  fill(place, h("figure", {}, h("span", { class: "framed" }, image, frame), h("figcaption", {}, `${name}, map ${channel + 1}`)));
}

const indexOfLargest = (values) => values.reduce((best, value, i) => (Math.abs(value) > Math.abs(values[best]) ? i : best), 0);

/** Write out how a value came about. */
function working(answer, layer, context) {
  switch (answer.kind) {
    case "convolution":
      return answer.filter ? convolution(answer) : plain(answer);
    case "pooling":
      return Array.isArray(answer.window?.[0]) ? pooling(answer) : plain(answer);
    case "fully-connected":
      return answer.filter ? connected(answer, layer, context) : plain(answer);
    default:
      return plain(answer);
  }
}

const most = (numbers) => Math.max(1e-12, ...numbers.flat(3).map((value) => Math.abs(value ?? 0)));

function total(answer) {
  const bias = answer.bias === null || answer.bias === undefined ? "" : ` + ${factor(answer.bias, 4)}`;
  const name = bias ? " and the bias" : "";
  return h("p", { class: "total" }, `Sum of all products${name}: ${short(answer.sum, 5)}${bias} = `, h("strong", { class: "value" }, short(answer.value, 5)));
}

function convolution(answer) {
  const order = answer.sums.map((_, i) => i).sort((a, b) => Math.abs(answer.sums[b]) - Math.abs(answer.sums[a]));
  const scales = [most(answer.window), most(answer.filter)];
  const line = (i) =>
    h(
      "div",
      { class: "equation" },
      term(miniature(answer.window[i], (value) => signed(value / scales[0]), { write: compact }), `window, channel ${answer.place.channel + i + 1}`),
      h("span", { class: "sign", "aria-hidden": "true" }, "×"),
      term(miniature(answer.filter[i], (value) => signed(value / scales[1]), { write: compact }), "filter"),
      h("span", { class: "partial" }, `Σ ${short(answer.sums[i], 4)}`),
    );
  const lines = h("div", {}, order.slice(0, CHANNELS_SHOWN).map(line));
  const rest = order.slice(CHANNELS_SHOWN);
  const others = rest.reduce((sum, i) => sum + answer.sums[i], 0);
  const more = rest.length ? h("button", { type: "button", class: "quiet" }, `The other ${rest.length} channels add ${short(others, 4)}: show`) : null;
  more?.addEventListener("click", () => {
    lines.append(...rest.map(line));
    more.remove();
  });
  return [lines, more, total(answer)];
}

const term = (content, text) => h("figure", { class: "term" }, content, h("figcaption", {}, text));

function pooling(answer) {
  const global = answer.title.startsWith("global") || answer.window.length * answer.window[0].length > 64;
  const scale = most(answer.window);
  const chosen = (row, column) => (answer.title.includes("max") && answer.window[row][column] === answer.value ? "chosen" : "");
  const words = answer.title.includes("max") ? "The largest is " : "The average is ";
  return [
    global && answer.window.length > 12 ? null : h("div", { class: "equation" }, term(miniature(answer.window, (value) => signed(value / scale), { classOf: chosen, write: compact }), "window")),
    h("p", { class: "total" }, words, h("strong", { class: "value" }, short(answer.value, 5))),
  ];
}

/** The terms of a weighted sum that count most. */
function connected(answer, layer, context) {
  const products = answer.window.map((value, i) => value * answer.filter[i]);
  const order = products.map((_, i) => i).sort((a, b) => Math.abs(products[b]) - Math.abs(products[a])).slice(0, TERMS_SHOWN);
  const scale = Math.abs(products[order[0]]) || 1;
  const labels = store.models.find((one) => one.name === context.model).labels;
  const name = layer.output_shape[0] === labels.length ? labels[answer.channel] : `number ${answer.channel + 1}`;
  const rows = order.map((i) => {
    const bar = h("span", { class: products[i] < 0 ? "bar negative" : "bar" });
    bar.style.setProperty("--share", String(Math.abs(products[i]) / scale));
    return h("li", {}, h("span", { class: "label" }, `${short(answer.window[i])} × ${factor(answer.filter[i])}`), h("span", { class: "track" }, bar), h("span", { class: "value" }, short(products[i])));
  });
  return [h("p", { class: "note" }, `${name}: the ${rows.length} of ${products.length} products that count most`), h("ol", { class: "bars products" }, rows), total(answer)];
}

function plain(answer) {
  const [first, ...others] = answer.window ?? [];
  if (first === undefined) return [h("p", { class: "total" }, `${answer.title}: `, h("strong", { class: "value" }, short(answer.value, 5)))];
  const from = answer.place ? ` from map ${answer.place.channel + 1}, row ${answer.place.top + 1}, column ${answer.place.left + 1}` : "";
  const sign = answer.kind === "product" ? " × " : " + ";
  const left = ["sum", "product"].includes(answer.kind) ? [first, ...others].map((value) => factor(value, 5)).join(sign) : short(first, 5);
  return [h("p", { class: "total" }, `${answer.title}: ${left}${from} ${["sum", "product"].includes(answer.kind) ? "=" : "→"} `, h("strong", { class: "value" }, short(answer.value, 5)))];
}
