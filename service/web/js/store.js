// What the whole page shares: the picture, the models, and who wants to know of a change.

import * as api from "./api.js";

export const store = { picture: null, models: [], model: null, compare: false };

const listeners = new Set();

export const onChange = (listener) => listeners.add(listener);

/** Change what is shared and tell everybody. */
export function change(values) {
  Object.assign(store, values);
  for (const listener of listeners) listener(values);
}

export const modelCard = (name = store.model) => store.models.find((one) => one.name === name);

/** Take a picture: a Blob and what to call it. `sample` is the name of one of the page's own. */
export function setPicture(blob, name, sample = null) {
  wanted += 1;
  if (store.picture) URL.revokeObjectURL(store.picture.url);
  change({ picture: { blob, name, sample, url: URL.createObjectURL(blob), prepared: new Map() } });
}

export async function setSample(name) {
  const own = (wanted += 1);
  const answer = await fetch(`web/samples/${name}.jpg`);
  if (!answer.ok) throw new Error(`There is no sample ${name}.`);
  const blob = await answer.blob();
  if (own === wanted) setPicture(blob, `${name}.jpg`, name);
}

let wanted = 0; // of several pictures asked for in a row, the last is taken, whichever comes first

/** What a model sees of the picture: its layers without maps, and the prepared picture as a PNG. Asked for once. */
export function prepared(picture, model) {
  if (!picture.prepared.has(model)) {
    const asked = api.layers(picture.blob, model, false).then(async (answer) => {
      const url = `data:image/png;base64,${answer.input.png}`;
      const bytes = Uint8Array.from(atob(answer.input.png), (letter) => letter.charCodeAt(0));
      return { ...answer, url, blob: new Blob([bytes], { type: "image/png" }) };
    });
    asked.catch(() => picture.prepared.delete(model)); // the next may succeed
    picture.prepared.set(model, asked);
  }
  return picture.prepared.get(model);
}
