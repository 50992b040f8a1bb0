// Play, step and scrub through the cells of an output.

import { h, prefersStill } from "./dom.js";

const PACE_MS = 600;

const ICONS = {
  first: "M5 4v16M19 4 9 12l10 8z",
  back: "M16 4 6 12l10 8z",
  play: "M7 4l12 8-12 8z",
  pause: "M7 4v16M17 4v16",
  next: "M8 4l10 8-10 8z",
  last: "M19 4v16M5 4l10 8-10 8z",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Calls `onStep(step)`; `describe(step)` says in words which cell that is. */
export function player(onStep, describe) {
  let step = 0;
  let steps = 1;
  let timer = 0;
  const button = (name, label, act) => h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick: act }, icon(name));
  const range = h("input", { type: "range", min: 0, value: 0, "aria-label": "Output cell", oninput: () => go(Number(range.value)) });
  const play = button("play", "Play", () => (timer ? stop() : start()));
  const words = h("output", { class: "where" });
  const element = h(
    "div",
    { class: "player", role: "group", "aria-label": "Slide the window" },
    button("first", "First cell", () => go(0)),
    button("back", "Step back", () => go(step - 1)),
    play,
    button("next", "Step forward", () => go(step + 1)),
    button("last", "Last cell", () => go(steps - 1)),
    range,
    words,
  );

  function go(to, playing = false) {
    if (!playing) stop();
    step = Math.max(0, Math.min(steps - 1, to));
    show();
    onStep(step);
  }

  function show() {
    range.max = steps - 1;
    range.value = step;
    words.textContent = describe(step);
    range.setAttribute("aria-valuetext", words.textContent);
  }

  function start() {
    if (step === steps - 1) go(0, true);
    element.classList.add("playing");
    play.replaceChildren(icon("pause"));
    play.setAttribute("aria-label", (play.title = "Pause"));
    timer = setInterval(() => (step < steps - 1 ? go(step + 1, true) : stop()), prefersStill() ? 2 * PACE_MS : PACE_MS);
    onStep(step);
  }

  function stop() {
    if (!timer) return;
    clearInterval(timer);
    timer = 0;
    element.classList.remove("playing");
    play.replaceChildren(icon("play"));
    play.setAttribute("aria-label", (play.title = "Play"));
    onStep(step);
  }

  return {
    element,
    stop,
    isPlaying: () => timer !== 0,
    /** Say how many steps there are, and at which to stand. */
    set(count, at) {
      steps = Math.max(1, count);
      step = Math.max(0, Math.min(steps - 1, at));
      show();
    },
  };
}
