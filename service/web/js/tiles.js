// Draw small arrays of numbers on canvases, and let one cell of them be picked.

import { signed } from "./colours.js";
import { h } from "./dom.js";

/** Decode a base64 PNG of grey levels into {width, height, levels}. */
export async function readLevels(png) {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const levels = new Uint8Array(bitmap.width * bitmap.height);
  for (let i = 0; i < levels.length; i += 1) levels[i] = data[4 * i];
  return { width: bitmap.width, height: bitmap.height, levels };
}

/** Cut the maps of a layer's strip apart: one Float32Array of height × width numbers each. */
export async function readMaps(layer) {
  const { count, height, width, png } = layer.maps;
  const strip = await readLevels(png);
  const span = layer.maximum - layer.minimum;
  return Array.from({ length: count }, (_, index) => {
    const numbers = new Float32Array(height * width);
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        const level = strip.levels[row * strip.width + index * width + column];
        numbers[row * width + column] = layer.minimum + (level / 255) * span;
      }
    }
    return numbers;
  });
}

/** Paint height × width signed numbers, one pixel each; `most` is the magnitude of full colour. */
export function paint(canvas, numbers, height, width, most) {
  canvas.height = height;
  canvas.width = width;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  numbers.forEach((value, i) => image.data.set([...signed(most ? value / most : 0), 255], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

export const magnitude = (layer) => Math.max(Math.abs(layer.minimum), Math.abs(layer.maximum));

/** Outline a box of cells on a canvas's cover. Cells may lie outside: that is padding. */
export function outline(cover, rows, columns, box) {
  cover.style.setProperty("top", `${(100 * box.top) / rows}%`);
  cover.style.setProperty("left", `${(100 * box.left) / columns}%`);
  cover.style.setProperty("height", `${(100 * box.height) / rows}%`);
  cover.style.setProperty("width", `${(100 * box.width) / columns}%`);
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** A canvas of rows × columns cells of which one is picked, by pointer or arrow keys. */
export function picker(canvas, rows, columns, name, onPick, { hover = true } = {}) {
  const cover = h("span", { class: "cell-mark" });
  const button = h("button", { type: "button", class: "picker", "aria-label": name }, canvas, cover);
  let at = { row: 0, column: 0 };
  const mark = (row, column) => {
    at = { row, column };
    outline(cover, rows, columns, { top: row, left: column, height: 1, width: 1 });
    button.setAttribute("aria-label", `${name}: row ${row + 1}, column ${column + 1}. Arrow keys move.`);
  };
  const pick = (row, column) => {
    const inside = (value, size) => Math.max(0, Math.min(size - 1, value));
    mark(inside(row, rows), inside(column, columns));
    onPick(at.row, at.column);
  };
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientY - box.top) / box.height) * rows, ((event.clientX - box.left) / box.width) * columns];
  };
  button.addEventListener("click", (event) => {
    if (event.detail) pick(...point(event).map(Math.floor)); // 0: by the keyboard
  });
  button.addEventListener("pointermove", (event) => {
    if (!hover) return;
    const [row, column] = point(event).map(Math.floor);
    if (event.pointerType === "mouse" && (row !== at.row || column !== at.column)) pick(row, column);
  });
  button.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    pick(at.row + step[0], at.column + step[1]);
  });
  return { element: button, mark };
}
