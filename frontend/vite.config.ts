import vue from "@vitejs/plugin-vue";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/**
 * Browsers keep to it for as long as a page is open when a module could not be loaded (HTML standard, "module map"). So a
 * chunk's file is fetched before it is imported: an import that fails can be tried again.
 */
const fetchedFirst: Plugin = {
  name: "fetched-first",
  renderDynamicImport: () => ({
    left: `(async (url) => {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(\`\${url} answered \${answer.status}\`);
      await answer.arrayBuffer();
      return import(url);
    })(new URL(`,
    right: ", import.meta.url).href)",
  }),
};

export default defineConfig({
  plugins: [vue(), fetchedFirst],
  // As code the table of subscription types is smaller than as JSON text.
  json: { stringify: false },
  build: {
    // The oldest browsers that pages are for (docs/site.md): the syntax of scripts and styles is made to suit them.
    target: ["chrome103", "firefox115", "safari16.4"],
    cssMinify: "lightningcss",
    // With the page, and not again with each chunk.
    cssCodeSplit: false,
    // The Content-Security-Policy knows no `data:` source, so every asset is a file.
    assetsInlineLimit: 0,
  },
  test: {
    environment: "happy-dom",
    include: ["tests/**/*.test.ts"],
    // A test reads which tones there are.
    css: { include: [/tokens\.css/] },
    // For a machine that has much else to do: no test waits for real time.
    testTimeout: 60_000,
    restoreMocks: true,
    unstubGlobals: true,
  },
});
