// Before the first paint: the theme chosen last time and the view that the address names, so that nothing flashes.
const view = location.hash.slice(1).split("?")[0];
document.documentElement.dataset.view = ["classify", "convolve", "inside", "why"].includes(view) ? view : "classify";
try {
  document.documentElement.dataset.theme = localStorage.getItem("stride-theme") ?? "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // storage is off
}
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Put the chosen theme in force: "auto" is as the system has it. */
function applyTheme() {
  const { theme } = document.documentElement.dataset;
  document.documentElement.dataset.scheme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
}
dark.addEventListener("change", applyTheme);
applyTheme();
