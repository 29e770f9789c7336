import js from "@eslint/js";
import baseline from "eslint-plugin-baseline-js";
import vue from "eslint-plugin-vue";
import globals from "globals";
import ts from "typescript-eslint";

export default ts.config(
  { ignores: ["dist/", "node_modules/", "src/api.types.ts"] },
  js.configs.recommended,
  { files: ["*.js"], languageOptions: { globals: globals.node } },
  {
    files: ["src/**/*.{ts,vue}", "tests/**/*.ts"],
    extends: [...ts.configs.strictTypeChecked, ...ts.configs.stylisticTypeChecked, ...vue.configs["flat/recommended"]],
    languageOptions: {
      globals: globals.browser,
      parserOptions: {
        parser: ts.parser,
        project: "./tsconfig.site.json",
        tsconfigRootDir: import.meta.dirname,
        extraFileExtensions: [".vue"],
      },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // It contradicts no-non-null-assertion.
      "@typescript-eslint/non-nullable-type-assertion-style": "off",
      eqeqeq: "error",
      "no-restricted-properties": ["error", { object: "Date", property: "now", message: "serverTime.ts knows the time." }],
      // What Twitch and its users write is shown as text, never as markup.
      "vue/no-v-html": "error",
      // The layout of a template is the author's: these would fight with readable one-line elements.
      "vue/max-attributes-per-line": "off",
      "vue/singleline-html-element-content-newline": "off",
      "vue/html-self-closing": ["error", { html: { void: "always", normal: "always" }, svg: "always" }],
      "vue/multi-word-component-names": "off",
      // TypeScript already says what an absent property is: undefined.
      "vue/require-default-prop": "off",
    },
  },
  { files: ["src/serverTime.ts", "tests/**/*.ts"], rules: { "no-restricted-properties": "off" } },
  // What the oldest browsers have (docs/site.md): of the platform by this rule, of JavaScript by TypeScript's `lib`.
  {
    files: ["src/**/*.{ts,vue}"],
    plugins: { "baseline-js": baseline },
    rules: {
      "baseline-js/use-baseline": [
        "error",
        {
          available: 2022,
          includeWebApis: { preset: "type-aware" },
          includeJsBuiltins: { preset: "type-aware" },
          // What is used of these, `writeText` and `timeout`, the oldest browsers have.
          ignoreFeatures: ["async-clipboard", "abortsignal-timeout"],
        },
      ],
    },
  },
);
