// Before the first paint: the theme chosen last time, so that nothing flashes.
try {
  document.documentElement.dataset.theme = localStorage.getItem("stride-theme") ?? "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // storage is off
}
