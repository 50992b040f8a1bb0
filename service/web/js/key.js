// An API key, where the service wants one: asked for once, and kept by this tab until it is closed.

import { h } from "./dom.js";

const NAME = "stride-key";
let kept = recall();
let asking = null;

function recall() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null; // storage is not allowed: it is kept as long as the page
  }
}

export const currentKey = () => kept;

/** The headers of a call: with the key, where there is one. */
export const keyHeaders = () => (kept ? { Authorization: `Bearer ${kept}` } : {});

/** Ask for a key, once however many calls want it; whether one was given that is another than `used`. */
export async function askForKey(used, why) {
  if ((kept ?? "") !== (used ?? "")) return true; // given meanwhile, for another call
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

function ask(why) {
  return new Promise((done) => {
    const input = h("input", { type: "password", name: "key", autocomplete: "off", required: true, "aria-describedby": "key-why" });
    const dialog = h(
      "dialog",
      { class: "ask", "aria-label": "API key", onclose: close },
      h("h2", {}, "This service wants an API key"),
      h("p", { id: "key-why", class: "note" }, `${why.split(";")[0].replace(/\.$/, "")}. It stays in this tab until you close it.`),
      h("form", { method: "dialog", onsubmit: keep }, h("label", {}, "API key", input), h("div", { class: "row" }, h("button", { class: "primary" }, "Go on"), h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"))),
    );
    let given = false;
    document.body.append(dialog);
    dialog.showModal();

    function keep() {
      given = true;
      kept = input.value.trim();
      try {
        sessionStorage.setItem(NAME, kept);
      } catch {
        // kept by the page alone
      }
    }

    function close() {
      dialog.remove();
      done(given);
    }
  });
}
