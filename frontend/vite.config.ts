import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [vue()],
  // As code the table of subscription types is smaller than as JSON text.
  json: { stringify: false },
  build: {
    // The oldest browsers that pages are for (docs/site.md): the syntax of scripts and styles is made to suit them.
    target: ["chrome103", "firefox115", "safari16.4"],
    cssMinify: "lightningcss",
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
