// The output's size, with the service's numbers in the article's formula.

import { h } from "./dom.js";

const line = ({ n, p, f, s, d, result }) =>
  d === undefined
    ? `⌊(${n} + 2·${p} − ${f}) / ${s}⌋ + 1 = ${result}`
    : `⌊(${n} + 2·${p} − ${d}·(${f} − 1) − 1) / ${s}⌋ + 1 = ${result}`;

/** Show `size` of an answer: the formula, and its letters filled in. */
export function formula(size, kind) {
  const { height, width } = size;
  const general = height.d === undefined ? "⌊(n + 2p − f) / s⌋ + 1" : "⌊(n + 2p − d(f − 1) − 1) / s⌋ + 1";
  const same = line(height) === line(width);
  const letters = [
    ["n", "cells of the image"],
    ["p", "cells of padding a side"],
    ["f", kind === "convolution" ? "cells of the filter" : "cells of the window"],
    ...(height.d === undefined ? [] : [["d", "cells from tap to tap"]]),
    ["s", "cells from window to window: the stride"],
  ];
  return [
    h("h2", {}, "The output’s size"),
    h("p", { class: "formula" }, general),
    same ? h("p", { class: "formula filled" }, line(height)) : null,
    same ? null : h("p", { class: "formula filled" }, h("small", {}, "height "), line(height)),
    same ? null : h("p", { class: "formula filled" }, h("small", {}, "width "), line(width)),
    h("dl", { class: "letters" }, letters.map(([letter, meaning]) => h("div", {}, h("dt", {}, letter), h("dd", {}, meaning)))),
  ];
}
