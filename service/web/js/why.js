// The fourth view: which part of the picture speaks for a class, by three methods that need not agree.

import * as api from "./api.js";
import { heat as colour } from "./colours.js";
import { announce, byId, fill, h, newest, problem, setStyle } from "./dom.js";
import { percent, short } from "./numbers.js";
import { writeAddress } from "./route.js";
import { onChange, prepared, store } from "./store.js";

const METHODS = {
  "grad-cam": {
    title: "Grad-CAM",
    says: (answer) => `Feature maps of ${answer.layer}, each weighed by how much the logit of “${answer.label}” rises with the whole map.`,
  },
  "hires-cam": {
    title: "HiResCAM",
    says: (answer) => `The same maps of ${answer.layer}, each cell weighed by its own slope: what the layers after it make of that place.`,
  },
  occlusion: {
    title: "Occlusion",
    says: (answer) => `A patch of the picture’s mean colour hides it part by part. Hiding the brightest place lowers the log-odds of “${answer.label}” by ${short(Math.max(0, answer.maximum))} on average.`,
  },
};

let active = false;
let label = null; // null: the likeliest

export function start() {
  onChange((changed) => {
    if ("picture" in changed || "model" in changed) label = null;
    if (active) update();
  });
  byId("opacity").addEventListener("input", shade);
  shade();
}

export function show(values) {
  active = true;
  label = values.label ?? label;
  return update();
}

export function hide() {
  active = false;
}

function shade() {
  setStyle(byId("heats"), { "--opacity": String(byId("opacity").value / 100) });
}

const update = newest(async (signal) => {
  const { picture, model } = store;
  if (!picture || !model) return;
  writeAddress("why", { model, sample: picture.sample, label });
  const place = byId("heats");
  try {
    const seen = await prepared(picture, model);
    const ranking = await api.predict(seen.blob, model, signal);
    const index = ranking.predictions[0].label;
    signal.throwIfAborted();
    showLabels(seen, label ?? index);
    const asked = Object.keys(METHODS).map((method) => heatmap(seen, model, method, label ?? index, signal));
    const figures = await Promise.all(asked);
    signal.throwIfAborted();
    fill(place, figures);
    announce(`Heat maps for ${label ?? index}.`);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    fill(byId("labels"));
    fill(place, problem(error));
  }
});

/** A button for every class, the likeliest first. */
function showLabels(seen, current) {
  const { numbers } = seen.layers.at(-1);
  const labels = store.models.find((one) => one.name === store.model).labels.map((name, i) => ({ name, share: numbers?.[i] ?? 0 }));
  labels.sort((a, b) => b.share - a.share);
  const place = byId("labels");
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.label : null;
  fill(
    place,
    labels.map(({ name, share }) =>
      h(
        "button",
        {
          type: "button",
          "data-label": name,
          "aria-pressed": String(name === current),
          onclick: () => {
            label = name;
            update();
          },
        },
        name,
        h("small", {}, percent(share)),
      ),
    ),
  );
  if (focused) [...place.children].find((one) => one.dataset.label === focused)?.focus();
}

async function heatmap(seen, model, method, wanted, signal) {
  const { title, says } = METHODS[method];
  try {
    const answer = await api.explain(seen.blob, model, method, wanted, signal);
    const [height, width] = answer.shape;
    const canvas = h("canvas", { class: "heat", height, width, role: "img", "aria-label": `${title}: heat map for ${wanted}` });
    draw(canvas, answer);
    return h(
      "figure",
      { class: "card heatmap", "data-method": method },
      h("div", { class: "stacked" }, h("img", { src: seen.url, alt: "", class: "pixels", width: 320, height: 320 }), canvas),
      h("figcaption", {}, h("h2", {}, title), h("p", {}, answer.maximum > 0 ? says(answer) : `Nothing speaks for “${wanted}” here.`)),
    );
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return h("figure", { class: "card heatmap", "data-method": method }, h("figcaption", {}, h("h2", {}, title), problem(error)));
  }
}

/** Paint what speaks for the class, the more the brighter and the less transparent. */
function draw(canvas, { heat, maximum, shape: [height, width] }) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  heat.flat().forEach((value, i) => {
    const share = maximum > 0 ? Math.max(0, value) / maximum : 0;
    image.data.set([...colour(share), 255 * share ** 0.6], 4 * i);
  });
  context.putImageData(image, 0, 0);
}
