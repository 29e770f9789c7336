import { createApp, type App as AppOfVue } from "vue";

import App from "./App.vue";
import { configKey } from "./composables/useConfig";
import { restoreTheme } from "./composables/useTheme";
import { ConfigError, loadConfig } from "./config";
import StartupError from "./pages/StartupError.vue";
import { retryUntilDone } from "./retryUntilDone";
import { createSiteRouter, isOverlay } from "./router";
import { CognitoSession } from "./session/cognitoSession";
import type { Session } from "./session/session";
import { TwitchSession } from "./session/twitchSession";
import { sessionKey } from "./session/useSession";

import "./styles/tokens.css";
import "./styles/base.css";

restoreTheme();

async function start(): Promise<void> {
  let failure: AppOfVue | undefined;
  const config = await retryUntilDone(async () => {
    try {
      return await loadConfig();
    } catch (error) {
      const reason = error instanceof ConfigError ? error.message : "an unexpected error";
      failure?.unmount();
      if (!isOverlay) (failure = createApp(StartupError, { reason })).mount("#app");
      throw error;
    }
  });
  failure?.unmount();
  const { identity } = config;
  const { origin } = window.location;
  const session: Session =
    identity.kind === "cognito" ? new CognitoSession(identity, origin) : new TwitchSession(origin);
  session.restore();
  createApp(App).provide(configKey, config).provide(sessionKey, session).use(createSiteRouter()).mount("#app");
}

void start();
