// What can be set of a convolution or a pooling, above the grids.

import { BORDERS, IMAGES, initial, KINDS, LARGEST_FILTER, LARGEST_IMAGE, PADDINGS, writeMatrix } from "./convolve-state.js";
import { announce, h } from "./dom.js";

const OWN = "your own";

const option = (value, text = value) => h("option", { value }, text);

function field(label, control) {
  return h("label", { class: "field" }, h("span", {}, label), control);
}

/** The controls; `change(values)` takes what was set. `show(state)` shows a state in them. */
export function controls(catalogue, change) {
  const select = (options, act) => h("select", { onchange: (event) => act(event.target.value) }, options);
  const number = (least, most, act) =>
    h("input", { type: "number", min: least, max: most, onchange: (event) => act(bounded(event.target, least, most)) });
  const kinds = Object.entries(KINDS).map(([kind, title]) =>
    h("button", { type: "button", "data-kind": kind, onclick: () => change(forKind(kind)) }, title),
  );
  const parts = {
    image: select([option(OWN), ...Object.keys(IMAGES).map((name) => option(name))], (name) => name in IMAGES && change({ image: IMAGES[name]() })),
    rows: number(1, LARGEST_IMAGE, (rows) => change({ image: resized(current.image, rows, null) })),
    columns: number(1, LARGEST_IMAGE, (columns) => change({ image: resized(current.image, null, columns) })),
    filter: select([option(OWN), ...[...catalogue.keys()].map((name) => option(name))], (name) => catalogue.has(name) && change({ filterName: name, filter: [catalogue.get(name)] })),
    side: number(1, LARGEST_FILTER, (side) => change({ filter: resized(current.filter, side, side), filterName: null })),
    apart: h("input", { type: "checkbox", onchange: (event) => change({ filter: event.target.checked ? Array(3).fill(current.filter[0]) : [current.filter[0]], filterName: null }) }),
    size: number(1, LARGEST_FILTER, (size) => change({ size, stride: size })),
    padding: select(Object.entries(PADDINGS).map(([value, text]) => option(value, text)), (padding) => change({ padding })),
    border: select(Object.entries(BORDERS).map(([value, text]) => option(value, text)), (padding_mode) => change({ padding_mode })),
    stride: number(1, 8, (stride) => change({ stride })),
    dilation: number(1, 4, (dilation) => change({ dilation })),
    flip: h("input", { type: "checkbox", onchange: (event) => change({ flip: event.target.checked }) }),
  };
  let current = initial();
  const fields = {
    side: field("Filter size", parts.side),
    filter: field("Filter", parts.filter),
    size: field("Window", parts.size),
    border: field("Border", parts.border),
    dilation: field("Dilation", parts.dilation),
    flip: h("label", { class: "check" }, parts.flip, "Turn the filter (true convolution)"),
    apart: h("label", { class: "check" }, parts.apart, "A filter of its own for each channel"),
  };
  const link = h("button", { type: "button", class: "quiet", onclick: copyLink }, "Copy link");
  const element = h(
    "section",
    { class: "card controls", "aria-label": "Settings" },
    h("div", { class: "row wide" }, h("div", { class: "segments", role: "group", "aria-label": "Operation" }, kinds), link, h("button", { type: "button", class: "quiet", onclick: () => change({ ...initial(), filter: [catalogue.get("vertical-edge")] }) }, "Start over")),
    h(
      "div",
      { class: "fields" },
      field("Image", parts.image),
      fields.filter,
      field("Padding", parts.padding),
      fields.border,
      field("Rows", parts.rows),
      field("Columns", parts.columns),
      fields.side,
      fields.size,
      field("Stride", parts.stride),
      fields.dilation,
    ),
    h("div", { class: "row" }, fields.flip, fields.apart),
  );

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      announce("Link copied.");
      link.textContent = "Copied";
      setTimeout(() => (link.textContent = "Copy link"), 1500);
    } catch {
      link.textContent = "It is in the address bar";
    }
  }

  function forKind(kind) {
    if (kind === current.kind) return {};
    const wasPooling = current.kind !== "convolution";
    if (kind === "convolution") return { kind, stride: 1, padding: "valid" };
    return wasPooling ? { kind } : { kind, stride: current.size, padding: "valid" };
  }

  return {
    element,
    show(state) {
      current = state;
      const pooling = state.kind !== "convolution";
      const written = writeMatrix(state.image);
      for (const button of kinds) button.setAttribute("aria-pressed", String(button.dataset.kind === state.kind));
      parts.image.value = Object.keys(IMAGES).find((name) => writeMatrix(IMAGES[name]()) === written) ?? OWN;
      parts.rows.value = state.image[0].length;
      parts.columns.value = state.image[0][0].length;
      parts.filter.value = state.filterName ?? OWN;
      parts.side.value = state.filter[0].length;
      parts.size.value = state.size;
      if (![...parts.padding.options].some((one) => one.value === state.padding)) parts.padding.append(option(state.padding));
      parts.padding.value = state.padding;
      parts.border.value = state.padding_mode;
      parts.stride.value = state.stride;
      parts.dilation.value = state.dilation;
      parts.flip.checked = state.flip;
      parts.apart.checked = state.filter.length > 1;
      for (const name of ["filter", "side", "border", "dilation", "flip"]) fields[name].hidden = pooling;
      fields.size.hidden = !pooling;
      fields.apart.hidden = pooling || state.image.length === 1;
    },
  };
}

function bounded(input, least, most) {
  const value = Math.max(least, Math.min(most, Math.round(Number(input.value)) || least));
  input.value = value;
  return value;
}

/** Cut or extend every channel, with zeros, to so many rows and columns; null: as many as there are. */
function resized(channels, rows, columns) {
  return channels.map((matrix) =>
    Array.from({ length: rows ?? matrix.length }, (_, row) =>
      Array.from({ length: columns ?? matrix[0].length }, (__, column) => matrix[row]?.[column] ?? 0),
    ),
  );
}
