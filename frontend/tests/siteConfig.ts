import { vi } from "vitest";

import type { SiteConfig } from "../src/config";

export const CONFIG: SiteConfig = {
  stage: "test",
  notice: "",
  identity: { kind: "twitch" },
  twitch: { player_url: "https://player.twitch.tv", chat_url: "https://www.twitch.tv" },
};

/** Lets the stage say of itself that this is its configuration. */
export function serveConfig(config: object = CONFIG): void {
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json(config)));
}
