// A grid of numbers: to be edited, or to be walked through. One tab stop; arrow keys move inside.

import { css, ink } from "./colours.js";
import { h, setStyle } from "./dom.js";
import { readNumber, short } from "./numbers.js";

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Grid {
  /** `onEdit(row, column, text)` makes cells inputs; `onPick(row, column)` makes them things to choose. */
  constructor(label, { onEdit = null, onPick = null } = {}) {
    this.label = label;
    this.onEdit = onEdit;
    this.onPick = onPick;
    this.table = h("table", { role: "grid", "aria-label": label, class: "grid" });
    this.element = h("div", { class: "grid-box" }, this.table);
    this.rows = 0;
    this.columns = 0;
    this.cells = [];
    this.at = { row: 0, column: 0 };
    this.table.addEventListener("keydown", (event) => this.move(event));
    if (onPick) {
      const pick = (event) => {
        const cell = event.target.closest("td");
        if (cell) onPick(Number(cell.dataset.row), Number(cell.dataset.column));
      };
      this.table.addEventListener("click", pick);
      let last = ""; // a page that scrolls under a resting mouse must not choose
      this.table.addEventListener("pointermove", (event) => {
        const at = `${event.screenX},${event.screenY}`;
        if (event.pointerType === "mouse" && at !== last) pick(event);
        last = at;
      });
    }
  }

  /** Make `rows` × `columns` cells; `still(row, column)` says which are neither edited nor chosen. */
  shape(rows, columns, still = () => false, key = "") {
    const shape = `${rows}×${columns} ${key}`;
    if (shape === this.made) return;
    this.made = shape;
    Object.assign(this, { rows, columns });
    setStyle(this.element, { "--columns": String(columns) });
    this.cells = Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (__, column) => this.cell(row, column, still(row, column))));
    this.table.replaceChildren(...this.cells.map((cells) => h("tr", { role: "row" }, cells.map((cell) => cell.element))));
    this.stop();
  }

  cell(row, column, still) {
    const small = h("small", { "aria-hidden": "true" });
    const element = h("td", { role: "gridcell", "data-row": row, "data-column": column });
    let input = null;
    if (this.onEdit && !still) {
      input = h("input", { type: "text", inputMode: "decimal", autocomplete: "off", spellcheck: false, tabIndex: -1 });
      input.addEventListener("focus", () => {
        this.at = { row, column };
        this.stop();
        input.select();
      });
      input.addEventListener("input", () => this.onEdit(row, column, input.value));
      input.addEventListener("blur", () => {
        if (readNumber(input.value) === null) input.value = short(this.cells[row][column].value); // what is computed with
      });
      element.append(input, small);
    } else {
      element.append(h("span", {}), small);
      if (this.onPick) element.tabIndex = -1;
    }
    return { element, input, small, text: element.firstChild, still };
  }

  /** Show a number in a cell, on a colour, with a small remark and with classes. */
  set(row, column, value, { colour = null, remark = "", classes = "", name = null, digits = 3 } = {}) {
    const { element, input, small, text } = this.cells[row][column];
    this.cells[row][column].value = value;
    const shown = short(value, digits);
    if (!input) text.textContent = shown;
    else if (document.activeElement !== input || readNumber(input.value) !== value) input.value = shown;
    if (input) input.setAttribute("aria-label", name ?? `row ${row + 1}, column ${column + 1}`);
    else if (name) element.setAttribute("aria-label", name);
    small.textContent = remark;
    element.className = classes;
    if (shown.length > 4) element.classList.add("long");
    const styles = colour ? [css(colour), ink(colour)] : ["", ""];
    element.style.backgroundColor = styles[0];
    element.style.color = styles[1];
  }

  /** Make one cell the tab stop. */
  stop() {
    const usable = ({ still }) => !still && (this.onEdit || this.onPick);
    const { row, column } = this.at;
    let target = this.cells[row]?.[column];
    if (!target || !usable(target)) target = this.cells.flat().find(usable);
    for (const cell of this.cells.flat()) if (usable(cell)) (cell.input ?? cell.element).tabIndex = cell === target ? 0 : -1;
  }

  move(event) {
    const step = MOVES[event.key];
    if (!step) return;
    const from = event.target.closest("td");
    const row = Number(from.dataset.row) + step[0];
    const column = Number(from.dataset.column) + step[1];
    const target = this.cells[row]?.[column];
    event.preventDefault();
    if (!target || target.still) return;
    this.at = { row, column };
    this.stop();
    (target.input ?? target.element).focus();
    if (this.onPick) this.onPick(row, column);
  }
}

/** A small grid to read only: numbers on colours. `classOf(row, column)` marks cells. */
export function miniature(numbers, colourOf, { classOf = () => "", label = "", write = short } = {}) {
  const dense = numbers.flat().some((value) => write(value).length > 4);
  const rows = numbers.map((line, row) =>
    h(
      "tr",
      {},
      line.map((value, column) => {
        const colour = value === null ? null : colourOf(value);
        const text = write(value);
        const cell = h("td", { class: `${classOf(row, column)} ${value === null ? "padding" : ""} ` }, text);
        if (colour) setStyle(cell, { "background-color": css(colour), color: ink(colour) });
        return cell;
      }),
    ),
  );
  const box = h("div", { class: dense ? "grid-box mini dense" : "grid-box mini" }, h("table", { class: "grid", "aria-label": label }, rows));
  setStyle(box, { "--columns": String(numbers[0].length) });
  return box;
}
