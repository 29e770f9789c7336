import { createApp } from "vue";

import App from "./App.vue";
import { configKey } from "./composables/useConfig";
import { restoreTheme } from "./composables/useTheme";
import { ConfigError, loadConfig } from "./config";
import StartupError from "./pages/StartupError.vue";
import { createSiteRouter } from "./router";
import { CognitoSession } from "./session/cognitoSession";
import type { Session } from "./session/session";
import { TwitchSession } from "./session/twitchSession";
import { sessionKey } from "./session/useSession";

import "./styles/tokens.css";
import "./styles/base.css";

restoreTheme();

async function start(): Promise<void> {
  const config = await loadConfig();
  const { identity } = config;
  const { origin } = window.location;
  const session: Session =
    identity.kind === "cognito" ? new CognitoSession(identity, origin) : new TwitchSession(origin);
  session.restore();
  createApp(App).provide(configKey, config).provide(sessionKey, session).use(createSiteRouter()).mount("#app");
}

start().catch((error: unknown) => {
  console.error(error);
  const reason = error instanceof ConfigError ? error.message : "an unexpected error";
  createApp(StartupError, { reason }).mount("#app");
});
