// A patch of one's own picture, as numbers for the image grid.

import { fill, h, newest, problem } from "./dom.js";
import { readPixels, shrink } from "./shrink.js";
import { store } from "./store.js";
import { outline, picker } from "./tiles.js";

const SIDE = 64; // pixels the picture is shown with: large enough to point at, small enough to find something in a patch
const SIZES = [6, 8, 10, 12];

/** The part that cuts a patch; `take(image)` gets its channels. */
export function patch(take) {
  const stage = h("div", { class: "patch-stage" });
  const size = h("select", { onchange: () => cut() }, SIZES.map((one) => h("option", { value: one, selected: one === 8 }, `${one}×${one}`)));
  const rgb = h("input", { type: "checkbox", onchange: () => cut() });
  const element = h(
    "section",
    { class: "card patch", "aria-labelledby": "patch-title" },
    h("h2", { id: "patch-title" }, "A patch of your picture"),
    h("p", { class: "note" }, `The picture in at most ${SIDE} pixels a side. Choose a place: its pixels become the image above.`),
    stage,
    h("div", { class: "row" }, h("label", { class: "field" }, h("span", {}, "Patch"), size), h("label", { class: "check" }, rgb, "RGB: three channels")),
  );
  let canvas = null;
  let centre = null;
  let picture = null;
  let frame = null;

  function box() {
    const side = Math.min(Number(size.value), canvas.width, canvas.height);
    const start = (at, most) => Math.max(0, Math.min(most - side, at - Math.floor(side / 2)));
    return { top: start(centre.row, canvas.height), left: start(centre.column, canvas.width), height: side, width: side };
  }

  function cut() {
    if (!canvas) return;
    outline(frame, canvas.height, canvas.width, box());
    take(readPixels(canvas, box(), rgb.checked));
  }

  const update = newest(async (signal) => {
    if (store.picture === picture || !store.picture) return;
    picture = store.picture;
    try {
      const shrunk = await shrink(picture.blob, SIDE);
      signal.throwIfAborted();
      canvas = shrunk;
    } catch (error) {
      if (signal.aborted) return;
      canvas = null;
      fill(stage, problem(error));
      return;
    }
    canvas.classList.add("pixels");
    frame = h("span", { class: "patch-frame" });
    const pick = picker(canvas, canvas.height, canvas.width, "Place of the patch", (row, column) => {
      centre = { row, column };
      cut();
    }, { hover: false });
    pick.element.append(frame);
    centre = { row: Math.floor(canvas.height / 2), column: Math.floor(canvas.width / 2) };
    pick.mark(centre.row, centre.column);
    outline(frame, canvas.height, canvas.width, box());
    fill(stage, pick.element);
  });

  return { element, update };
}
