// The first view: what is it, how sure is the network, what does it see, and how long did it take.

import * as api from "./api.js";
import { announce, byId, fill, h, newest, problem, setStyle } from "./dom.js";
import { count, milliseconds, percent } from "./numbers.js";
import { writeAddress } from "./route.js";
import { snippets } from "./snippets.js";
import { change, onChange, prepared, store } from "./store.js";

// Below this the network, by its own calibrated probability, is wrong more often than right.
const SURE = 0.5;
const SHOWN = 5;

let active = false;

export function start() {
  byId("compare").addEventListener("change", (event) => change({ compare: event.target.checked }));
  onChange(() => active && update());
}

export function show(values) {
  active = true;
  if ("compare" in values && store.models.length > 1) store.compare = values.compare === "true";
  byId("compare").checked = store.compare;
  return update();
}

export function hide() {
  active = false;
}

const update = newest(async (signal) => {
  const { picture, model, compare, models } = store;
  if (!picture || !model) return;
  byId("compare-choice").hidden = models.length < 2;
  writeAddress("classify", { model, sample: picture.sample, compare: compare || null });
  const names = compare ? models.map((one) => one.name) : [model];
  const place = byId("verdicts");
  place.classList.toggle("compared", compare);
  // The old answer stays until the new one is there: nothing jumps.
  const cards = await Promise.all(names.map((name) => verdict(picture, name, signal)));
  signal.throwIfAborted();
  fill(place, cards);
  const path = compare ? "predict" : `predict?model=${encodeURIComponent(model)}`;
  fill(byId("snippets"), snippets(path, picture.name));
  announce(cards.map((card) => card.dataset.said).join(" "));
});

/** One model's answer as a card. A failure is the card's own. */
async function verdict(picture, name, signal) {
  try {
    const [answer, seen] = await Promise.all([api.predict(picture.blob, name, signal), prepared(picture, name)]);
    return card(name, answer, seen);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return h("article", { class: "card verdict", "data-said": error.message }, h("h2", {}, "No answer"), problem(error));
  }
}

function card(name, answer, seen) {
  const [first, second] = answer.predictions;
  const sure = first.probability >= SURE;
  const title = sure ? first.label : "I am not sure";
  const explained = sure
    ? `Of pictures like those it was tested on, and as sure as this one, ${mistakes(first.probability)} something else.`
    : `${name} leans to ${first.label} with ${percent(first.probability)}${second ? `, then ${second.label} with ${percent(second.probability)}` : ""}. Below ${percent(SURE, 0)} it is wrong more often than right.`;
  const [channels, height, width] = seen.input.output_shape;
  return h(
    "article",
    { class: "card verdict", "data-said": `${name}: ${sure ? `${title}, ${percent(first.probability)}` : title}.` },
    h(
      "div",
      { class: "answer" },
      h("p", { class: "eyebrow" }, name),
      h("h2", { class: sure ? "sure" : "unsure" }, title, sure ? h("span", { class: "share" }, percent(first.probability)) : null),
      h("p", { class: "explained" }, explained),
      bars(answer.predictions.slice(0, SHOWN)),
    ),
    h(
      "figure",
      { class: "seen" },
      h("img", { src: seen.url, alt: `What ${name} sees: the central square in ${width} by ${height} pixels`, class: "pixels", width: 224, height: 224 }),
      h("figcaption", {}, `What it sees: ${height}×${width} pixels, ${channels === 1 ? "grey" : "RGB"}, ${count(channels * height * width)} numbers`),
    ),
    timings(answer),
  );
}

/** Say in words how often so sure an answer is wrong. */
function mistakes(probability) {
  const wrong = Math.round((1 - probability) * 100);
  if (wrong < 1) return "fewer than 1 in 100 are";
  return wrong === 1 ? "1 in 100 is" : `${wrong} in 100 are`;
}

/** Draw the classes' probabilities. */
export function bars(predictions) {
  return h(
    "ol",
    { class: "bars" },
    predictions.map(({ label, probability }) => {
      const bar = h("span", { class: "bar" });
      setStyle(bar, { "--share": String(probability) });
      return h("li", {}, h("span", { class: "label" }, label), h("span", { class: "track" }, bar), h("span", { class: "value" }, percent(probability)));
    }),
  );
}

const STAGES = [["decode", "decode"], ["queue", "wait"], ["infer", "infer"]];

function timings({ stages, elapsed }) {
  const parts = STAGES.filter(([name]) => name in stages).map(([name, title]) => ({ name, title, spent: stages[name] }));
  const spent = parts.reduce((sum, part) => sum + part.spent, 0) || 1;
  return h(
    "section",
    { class: "timings", "aria-label": "Time taken" },
    h(
      "div",
      { class: "stack", "aria-hidden": "true" },
      parts.map(({ name, spent: own }) => {
        const part = h("span", { class: `stage ${name}` });
        setStyle(part, { "flex-grow": String(Math.max(own / spent, 0.004)) });
        return part;
      }),
    ),
    h(
      "dl",
      {},
      parts.map(({ name, title, spent: own }) => h("div", {}, h("dt", { class: name }, title), h("dd", {}, milliseconds(own)))),
      h("div", {}, h("dt", {}, "server"), h("dd", {}, milliseconds(stages.total ?? spent))),
      h("div", {}, h("dt", {}, "from here"), h("dd", {}, milliseconds(elapsed))),
    ),
  );
}
