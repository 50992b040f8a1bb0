// The picture everybody looks at: dropped, pasted, chosen, photographed, or one of the samples.

import { takePhoto } from "./camera.js";
import { announce, byId, fill, h, problem } from "./dom.js";
import { count, percent } from "./numbers.js";
import { change, onChange, setPicture, setSample, store } from "./store.js";

export const SAMPLES = {
  cat: "Cat, a photo",
  ship: "Ship, a drawing",
  aeroplane: "Aeroplane, a drawing",
  truck: "Truck, a drawing",
  frog: "Frog, a drawing",
  coffee: "Coffee, a photo of what the network has never seen",
};

export function start() {
  fill(byId("samples"), sampleButtons());
  for (const input of document.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      take(input.files[0]);
      input.value = ""; // the same file may be chosen again
    });
  }
  for (const button of document.querySelectorAll("[data-photograph]")) {
    button.addEventListener("click", () => takePhoto(take, complain));
  }
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) take(file);
  });
  addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  onChange((changed) => {
    if ("picture" in changed) show();
    if ("models" in changed) showModels();
    else if ("model" in changed) for (const radio of byId("models").querySelectorAll("input")) radio.checked = radio.value === store.model;
  });
}

export function sampleButtons() {
  return Object.entries(SAMPLES).map(([name, title]) =>
    h(
      "button",
      { type: "button", class: "sample", "data-sample": name, title, onclick: () => setSample(name).catch(complain) },
      h("img", { src: `web/samples/${name}-small.jpg`, alt: title, width: 48, height: 48 }),
    ),
  );
}

function take(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) {
    complain(new Error(`${file.name} is no picture. JPEG, PNG, WebP, GIF, BMP and TIFF are read.`));
    return;
  }
  setPicture(file, file.name || "picture.png");
  announce(`${store.picture.name} is the picture now.`);
}

function complain(error) {
  fill(byId("picture-problem"), problem(error));
}

/** Show the picture with a frame around what a model sees of it, its central square. */
function show() {
  const { picture } = store;
  fill(byId("picture-problem"));
  const image = h("img", { src: picture.url, alt: `The picture: ${picture.name}` });
  const frame = h("span", { class: "square", hidden: true });
  image.addEventListener("load", () => {
    if (store.picture !== picture) return;
    const { naturalWidth: width, naturalHeight: height } = image;
    const side = Math.min(width, height);
    frame.hidden = width === height;
    frame.style.setProperty("width", `${(100 * side) / width}%`);
    frame.style.setProperty("height", `${(100 * side) / height}%`);
    fill(byId("picture-name"), `${picture.name}, ${width}×${height}`);
  });
  image.addEventListener("error", () => {
    if (store.picture !== picture) return;
    // A TIFF, say: the service reads more than a browser shows.
    fill(byId("picture-stage"), h("p", { class: "note" }, "This browser cannot show the file; the service may read it all the same."));
    fill(byId("picture-name"), picture.name);
  });
  fill(byId("picture-stage"), h("span", { class: "framed" }, image, frame));
  markSample();
}

export function markSample() {
  for (const button of document.querySelectorAll(".sample")) {
    button.setAttribute("aria-pressed", String(button.dataset.sample === store.picture?.sample));
  }
}

function showModels() {
  const choices = store.models.map((model) => {
    const radio = h("input", {
      type: "radio",
      name: "model",
      value: model.name,
      checked: model.name === store.model,
      onchange: () => change({ model: model.name }),
    });
    const { accuracy } = model.metrics;
    const about = [accuracy === undefined ? null : `${percent(accuracy)} right`, `${count(model.parameters)} parameters`];
    return h(
      "label",
      { class: "choice" },
      radio,
      h("span", {}, h("b", {}, model.name), h("small", {}, about.filter(Boolean).join(" · "))),
    );
  });
  fill(byId("models"), choices);
}
