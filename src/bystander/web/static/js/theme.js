// Sets the chosen theme before the first paint; a classic script, so that nothing flashes.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("bystander-theme");
  } catch {
    // storage may be off; the system's theme holds then
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
