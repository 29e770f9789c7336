import { createApp } from "vue";

import App from "./App.vue";
import { configKey } from "./composables/useConfig";
import { restoreTheme } from "./composables/useTheme";
import { ConfigError, loadConfig } from "./config";
import StartupError from "./pages/StartupError.vue";
import { createSiteRouter } from "./router";
import { Session } from "./session/session";
import { sessionKey } from "./session/useSession";

import "./styles/tokens.css";
import "./styles/base.css";

restoreTheme();

async function start(): Promise<void> {
  const config = await loadConfig();
  const session = new Session(config.identity, window.location.origin);
  session.restore();
  createApp(App).provide(configKey, config).provide(sessionKey, session).use(createSiteRouter()).mount("#app");
}

start().catch((error: unknown) => {
  console.error(error);
  const reason = error instanceof ConfigError ? error.message : "an unexpected error";
  createApp(StartupError, { reason }).mount("#app");
});
