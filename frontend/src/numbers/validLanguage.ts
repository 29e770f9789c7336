// uPlot formats numbers in navigator.language when it is loaded. In a browser that was started in the locale "C" that is
// no valid language (`en-US@posix`): uPlot would throw, and the page have no charts.
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en" });
}
