// The call that was just made, to copy: curl, Python, JavaScript.

import { announce, fill, h } from "./dom.js";
import { currentKey } from "./key.js";

const WRITE = {
  // In quotes of curl's own, within the shell's: a `;` or a `,` in a name would be curl's otherwise.
  curl: (url, file) => `curl${currentKey() ? ' -H "Authorization: Bearer $STRIDE_KEY"' : ""} -F 'file=@"${file.replace(/["\\]/g, "\\$&").replaceAll("'", "'\\''")}"' '${url}'`,
  Python: (url, file) =>
    [...(currentKey() ? ["import os"] : []), "import httpx", "", `with open(${JSON.stringify(file)}, "rb") as file:`, `    answer = httpx.post(${JSON.stringify(url)}, files={"file": file}${currentKey() ? ", headers={\"X-API-Key\": os.environ[\"STRIDE_KEY\"]}" : ""})`, "answer.raise_for_status()", 'for guess in answer.json()["predictions"]:', '    print(f"{guess[\'probability\']:6.1%}  {guess[\'label\']}")'].join("\n"),
  JavaScript: (url) =>
    ["// `file` is a File: of an <input type=file>, or dropped", "const body = new FormData();", 'body.append("file", file);', `const answer = await fetch(${JSON.stringify(url)}, { method: "POST", body${currentKey() ? ', headers: { "X-API-Key": key }' : ""} });`, "if (!answer.ok) throw new Error((await answer.json()).detail);", "const { predictions } = await answer.json();"].join("\n"),
};

let chosen = "curl";

/** Show the three ways to call `path` with `file`; the one last chosen is open. */
export function snippets(path, file) {
  const url = new URL(path, document.baseURI).href;
  const text = h("code", {});
  const copy = h("button", { type: "button", class: "copy", onclick: copyText }, "Copy");
  const choices = Object.keys(WRITE).map((language) =>
    h("button", { type: "button", "data-language": language, onclick: () => open(language) }, language),
  );

  function open(language) {
    chosen = language;
    text.textContent = WRITE[language](url, file);
    for (const choice of choices) choice.setAttribute("aria-pressed", String(choice.dataset.language === language));
  }

  async function copyText() {
    try {
      await navigator.clipboard.writeText(text.textContent);
      copy.textContent = "Copied";
      announce("Copied.");
    } catch {
      getSelection().selectAllChildren(text); // no clipboard over plain http: the keyboard copies
      copy.textContent = "Selected";
    }
    setTimeout(() => fill(copy, "Copy"), 1500);
  }

  open(chosen);
  return h(
    "section",
    { class: "snippets card", "aria-label": "The same call in code" },
    h("header", {}, h("h3", {}, "The same call"), h("div", { class: "segments", role: "group", "aria-label": "Language" }, choices), copy),
    h("pre", { tabindex: 0, role: "region", "aria-label": "Code" }, text),
  );
}
