// Measures an address with Lighthouse, in the one tab of a Chromium that runs already: who is signed in there stays so.
// Writes <report>.html and <report>.json.
//
//   node tests/e2e/lighthouse/run.mjs <the browser's debugging port> <address> <report>
import { writeFileSync } from "node:fs";

import lighthouse from "lighthouse";
import puppeteer from "puppeteer-core";

const [port, address, report] = process.argv.slice(2);
const browser = await puppeteer.connect({ browserURL: `http://127.0.0.1:${port}`, defaultViewport: null });
const [tab] = (await browser.pages()).filter((page) => page.url().startsWith("http"));
const result = await lighthouse(
  address,
  {
    output: ["html", "json"],
    onlyCategories: ["performance", "accessibility", "best-practices", "seo"],
    // Signed-in viewers are kept in the tab's storage.
    disableStorageReset: true,
  },
  undefined,
  tab,
);
writeFileSync(`${report}.html`, result.report[0]);
writeFileSync(`${report}.json`, result.report[1]);
await browser.disconnect();
