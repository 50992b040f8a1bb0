// The address bar: which view is shown, and what in it. `#convolve?padding=1&stride=2`

const VIEWS = ["classify", "convolve", "inside", "why"];

/** Read the address: {view, values}. */
export function readAddress() {
  const [view, text = ""] = location.hash.slice(1).split("?");
  return { view: VIEWS.includes(view) ? view : VIEWS[0], values: Object.fromEntries(new URLSearchParams(text)) };
}

/** Write a view's values into the address, without a step in the history. */
export function writeAddress(view, values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  // What is readable stays readable: commas and semicolons need no escape in a fragment.
  const text = given.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2C", ",").replaceAll("%3B", ";").replaceAll("%7C", "|")}`);
  const hash = `#${view}${text.length ? `?${text.join("&")}` : ""}`;
  if (hash !== location.hash) history.replaceState(null, "", hash);
}
