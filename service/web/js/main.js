// Start the page: the models, the first picture, the view that the address names.

import * as api from "./api.js";
import { readTheme } from "./colours.js";
import { byId, fill, problem } from "./dom.js";
import * as picture from "./picture.js";
import { readAddress } from "./route.js";
import { change, setSample, store } from "./store.js";

// Fetched when first shown: the first view is there the sooner.
const load = {
  classify: () => import("./classify.js"),
  convolve: () => import("./convolve.js"),
  inside: () => import("./inside.js"),
  why: () => import("./why.js"),
};
const views = new Map();
let shown = null;

/** Bring a view's frame on the page; what is in it comes with `showView`. */
function reveal(view) {
  document.documentElement.dataset.view = view;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function showView({ view, values }) {
  if (shown && shown !== view) {
    views.get(shown)?.hide();
    scrollTo(0, 0);
  }
  reveal(view);
  shown = view;
  if (!views.has(view)) {
    const module = await load[view]();
    if (!views.has(view)) module.start();
    views.set(view, module);
  }
  if (shown === view) await views.get(view).show(values); // unless another was asked for meanwhile
}

let going = 0; // of several addresses in a row the last is shown

async function go() {
  const own = (going += 1);
  fill(byId("page-problem"));
  const address = readAddress();
  const { model, sample } = address.values;
  if (model && model !== store.model && store.models.some((one) => one.name === model)) change({ model });
  if (sample && Object.hasOwn(picture.SAMPLES, sample) && sample !== store.picture?.sample) await setSample(sample);
  if (own === going) await showView(address);
}

function startTheme() {
  const names = ["auto", "light", "dark"];
  const button = byId("theme");
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    applyTheme(); // of early.js
    button.textContent = theme[0].toUpperCase() + theme.slice(1);
    button.setAttribute("aria-label", `Theme: ${theme === "auto" ? "as the system has it" : theme}`);
    redraw();
  };
  const redraw = () => {
    readTheme();
    if (store.models.length) change({ theme: document.documentElement.dataset.theme });
  };
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    try {
      localStorage.setItem("stride-theme", next);
    } catch {
      // Storage is off: the choice lasts as long as the page.
    }
    apply(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  apply(document.documentElement.dataset.theme);
}

async function start() {
  startTheme();
  picture.start();
  document.querySelector("[data-skip]").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  const address = readAddress();
  reveal(address.view);
  try {
    const { models, default: first } = await api.models();
    const wanted = models.find((one) => one.name === address.values.model);
    change({ models, model: wanted ? wanted.name : first });
    await setSample(Object.hasOwn(picture.SAMPLES, address.values.sample) ? address.values.sample : "cat");
    addEventListener("hashchange", () => go().catch((error) => fill(byId("page-problem"), problem(error))));
    await showView(address);
  } catch (error) {
    fill(byId("page-problem"), problem(error));
  }
}

start();
