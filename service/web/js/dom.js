// Build elements. Text is always set as text: what a model or a file is called is never markup.

/** Make an element: h("p", {class: "note", onclick: f, "aria-label": "…"}, "text", child, …). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") setStyle(element, value);
    else if (name in element && !name.includes("-") && name !== "list") element[name] = value;
    else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set CSS properties, custom ones too; a style attribute would be against the page's policy. */
export function setStyle(element, styles) {
  for (const [name, value] of Object.entries(styles)) element.style.setProperty(name, value);
}

export const byId = (id) => document.getElementById(id);

/** Replace an element's content by the given children. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Show a sentence of an error where its cause is. */
export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, error.message);
}

/** Say something to a screen reader. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Call `work` once, some milliseconds after the last of several calls. */
export function debounce(work, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}

/** Keep only the newest of several pieces of asynchronous work: the signal of an older one is aborted. */
export function newest(work) {
  let running = null;
  return async (...values) => {
    running?.abort();
    const own = (running = new AbortController());
    try {
      return await work(own.signal, ...values);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      return undefined;
    }
  };
}

export const prefersStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
