// The third view: the picture's way through the served network, layer by layer.

import * as api from "./api.js";
import { byId, fill, h, newest, problem } from "./dom.js";
import { detail } from "./detail.js";
import { learned } from "./learned.js";
import { count, short } from "./numbers.js";
import { writeAddress } from "./route.js";
import { modelCard, onChange, prepared, store } from "./store.js";
import { magnitude, paint, readMaps } from "./tiles.js";

const FEW = 16; // maps shown before one asks for all

let active = false;

export function start() {
  onChange(() => active && update());
}

export function show() {
  active = true;
  return update();
}

export function hide() {
  active = false;
}

const update = newest(async (signal) => {
  const { picture, model } = store;
  if (!picture || !model) return;
  writeAddress("inside", { model, sample: picture.sample });
  const place = byId("inside-body");
  try {
    const seen = await prepared(picture, model);
    const answer = await api.layers(seen.blob, model, true, signal);
    const context = { blob: seen.blob, model, maps: await readAll(answer.layers), layers: new Map(answer.layers.map((one) => [one.name, one])) };
    context.input = { url: seen.url, shape: answer.input.output_shape };
    const first = await learned(model, answer.layers).catch(() => null); // a network without convolutions has none
    signal.throwIfAborted();
    fill(place, overview(answer, model), first, h("ol", { class: "layers" }, inputItem(seen), answer.layers.map((layer) => item(layer, context))));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    fill(place, problem(error));
  }
});

async function readAll(layers) {
  const entries = layers.filter((layer) => layer.maps).map(async (layer) => [layer.name, await readMaps(layer)]);
  return new Map(await Promise.all(entries));
}

function overview({ layers }, model) {
  const card = modelCard(model);
  const learnedLayers = layers.filter((layer) => layer.parameter_count);
  const most = Math.max(...learnedLayers.map((layer) => layer.parameter_count));
  return h(
    "section",
    { class: "card overview", "aria-label": "The network as a whole" },
    h("h2", {}, card.name),
    h("p", {}, `${layers.length} steps, ${learnedLayers.length} with learned numbers: ${count(card.parameters)} parameters and ${count(card.macs)} multiply-adds for one picture. Most of the parameters are in ${learnedLayers.find((layer) => layer.parameter_count === most)?.name ?? "none"}.`),
  );
}

function inputItem(seen) {
  const [channels, height, width] = seen.input.output_shape;
  return h(
    "li",
    { class: "layer", "data-layer": "input" },
    head({ name: "input", title: seen.input.title, output_shape: seen.input.output_shape, parameter_count: 0, inputs: [] }),
    h("div", { class: "maps" }, h("img", { src: seen.url, alt: `The prepared picture, ${width} by ${height} pixels, ${channels} channels`, class: "pixels", width: 96, height: 96 })),
  );
}

function head({ name, title, kind, output_shape: shape, parameter_count: parameters, inputs }) {
  return h(
    "header",
    {},
    h("h3", {}, h("span", { class: `kind ${kind ?? "input"}` }, title), h("code", {}, name)),
    h("p", { class: "facts" }, h("span", {}, shape.join("×")), parameters ? h("span", {}, `${count(parameters)} parameters`) : null, inputs.length > 1 ? h("span", {}, `${inputs.join(" + ")}`) : null),
  );
}

/** What one layer does, in a sentence. */
function says(layer) {
  const { parameters: given, title } = layer;
  const window = given.filter ? given.filter.join("×") : "";
  const around = given.padding?.some(Boolean) ? `, padding ${given.padding[0]}` : "";
  const step = given.stride?.some((one) => one !== 1) ? `, stride ${given.stride[0]}` : "";
  switch (layer.kind) {
    case "convolution":
      return `${given.output_channels} filters of ${window}×${given.input_channels / given.groups}${step}${around}${given.bias ? ", and a bias each" : ""}.`;
    case "pooling":
      if (!window) return "Windows of unequal size.";
      return title.startsWith("global") ? "One number for each map." : `Windows of ${window}${step}${around}.`;
    case "fully-connected":
      return `Each of ${count(given.outputs)} numbers is a weighted sum of all ${count(given.inputs)}${given.bias ? ", and a bias" : ""}.`;
    case "activation":
      return title === "ReLU" ? "Negative numbers become 0." : "Bends every number; small or negative ones towards 0.";
    case "flatten":
      return "All maps in one row, map by map, row by row.";
    case "scaling":
      return given.operations.length ? `Every number ${given.operations.join(", then ")}.` : "Numbers stay as they are.";
    case "sum":
      return `Adds ${layer.inputs.join(" and ")}, cell by cell: a shortcut past the layers between.`;
    case "normalisation":
      return "Brings every map to a like mean and spread.";
    case "softmax":
      return "Makes probabilities of logits: positive, and together 1.";
    default:
      return "";
  }
}

function sizeOf({ size }) {
  if (!size) return null;
  const { n, p, f, s, d, result } = size.height;
  return h("p", { class: "formula" }, d === undefined ? `⌊(${n} + 2·${p} − ${f}) / ${s}⌋ + 1 = ${result}` : `⌊(${n} + 2·${p} − ${d}·(${f} − 1) − 1) / ${s}⌋ + 1 = ${result}`);
}

function item(layer, context) {
  const body = h("div", { class: "maps" });
  const below = h("div", { class: "detail-place" });
  const open = (channel) => {
    for (const one of byId("inside-body").querySelectorAll(".detail-place")) if (one !== below) fill(one);
    for (const one of byId("inside-body").querySelectorAll(".tile[aria-pressed=true]")) one.setAttribute("aria-pressed", "false");
    body.querySelector(`[data-channel="${channel}"]`)?.setAttribute("aria-pressed", "true");
    fill(below, detail(layer, channel, context, close));
  };
  const close = () => {
    fill(below);
    const pressed = body.querySelector("[aria-pressed=true]");
    pressed?.setAttribute("aria-pressed", "false");
    pressed?.focus();
  };
  if (layer.maps) drawMaps(body, layer, context, open);
  else if (layer.numbers) drawVector(body, layer, context, open);
  else fill(body, h("p", { class: "note" }, `Numbers from ${short(layer.minimum)} to ${short(layer.maximum)}.`));
  return h("li", { class: "layer", "data-layer": layer.name }, head(layer), h("div", { class: "words" }, h("p", {}, says(layer)), sizeOf(layer)), body, below);
}

function drawMaps(body, layer, context, open) {
  const maps = context.maps.get(layer.name);
  const most = magnitude(layer);
  const { height, width } = layer.maps;
  const total = layer.output_shape.length === 3 ? layer.output_shape[0] : 1;
  const tile = (numbers, channel) =>
    h(
      "button",
      { type: "button", class: "tile", "data-channel": channel, "aria-pressed": "false", "aria-label": `${layer.name}, map ${channel + 1} of ${total}`, onclick: () => open(channel) },
      paint(h("canvas", { class: "pixels" }), numbers, height, width, most),
    );
  fill(body, maps.slice(0, FEW).map(tile));
  if (maps.length > FEW) {
    const rest = h("button", { type: "button", class: "quiet more" }, `Show ${maps.length < total ? `${maps.length} of ${total}` : `all ${total}`}`);
    rest.addEventListener("click", () => {
      const tiles = maps.slice(FEW).map((numbers, i) => tile(numbers, i + FEW));
      rest.replaceWith(...tiles);
      tiles[0].focus();
    });
    body.append(rest);
  }
}

const LABELLED = 20; // numbers that get a bar and a name each

function drawVector(body, layer, context, open) {
  const labels = store.models.find((one) => one.name === context.model).labels;
  const values = layer.numbers;
  const most = magnitude(layer);
  if (values.length === labels.length && values.length <= LABELLED) {
    fill(body, h("ol", { class: "logits" }, values.map((value, i) => logit(labels[i], value, most, () => open(i), i, layer))));
    return;
  }
  const columns = Math.min(values.length, 40);
  const rows = Math.ceil(values.length / columns);
  const padded = Float32Array.from({ length: rows * columns }, (_, i) => values[i] ?? 0);
  const canvas = paint(h("canvas", { class: "pixels vector" }), padded, rows, columns, most);
  if (layer.kind === "softmax") {
    fill(body, canvas);
    return;
  }
  fill(
    body,
    h("button", { type: "button", class: "tile wide", "data-channel": 0, "aria-pressed": "false", "aria-label": `${layer.name}, ${layer.output_shape[0]} numbers`, onclick: () => open(0) }, canvas),
  );
}

function logit(label, value, most, act, index, layer) {
  const bar = h("span", { class: value < 0 ? "bar negative" : "bar" });
  bar.style.setProperty("--share", String(most ? Math.abs(value) / most : 0));
  const content = [h("span", { class: "label" }, label), h("span", { class: "track" }, bar), h("span", { class: "value" }, short(value))];
  return h("li", {}, layer.kind === "softmax" ? h("div", { class: "logit" }, content) : h("button", { type: "button", class: "logit", "data-channel": index, "aria-pressed": "false", onclick: act }, content));
}
