// uPlot formats numbers in navigator.language as soon as it is loaded. A browser that was started in the locale "C" names
// a language there that is none (`en-US@posix`), which would throw, and leave the page without charts.
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en" });
}
