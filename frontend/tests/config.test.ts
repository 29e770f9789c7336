import { describe, expect, test, vi } from "vitest";

import { ConfigError, loadConfig, parseConfig, type SiteConfig } from "../src/config";

const config = {
  stage: "dev",
  identity: {
    kind: "cognito",
    authority: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_pool",
    client_id: "client",
    domain: "https://fanfare.auth.eu-west-1.amazoncognito.com",
    provider: "Twitch",
    streamer_provider: "TwitchStreamer",
  },
  twitch: { player_url: "https://player.twitch.tv", chat_url: "https://www.twitch.tv" },
};

function load(answer: () => Promise<Response>): Promise<SiteConfig> {
  vi.stubGlobal("fetch", answer);
  return loadConfig();
}

describe("config.json", () => {
  test("is what the deployment wrote", async () => {
    expect(await load(() => Promise.resolve(Response.json(config)))).toEqual(config);
  });

  test("may be that of a stage without Cognito", () => {
    expect(parseConfig({ ...config, identity: { kind: "twitch" } }).identity).toEqual({ kind: "twitch" });
  });

  test("may end its addresses with a slash", () => {
    const slashed = { ...config, twitch: { player_url: "https://player.twitch.tv/", chat_url: "https://www.twitch.tv/" } };
    expect(parseConfig(slashed)).toEqual(config);
  });

  test.each([
    [null, "config is missing"],
    [{ ...config, stage: 1 }, "config.stage"],
    [{ ...config, identity: undefined }, "identity is missing"],
    [{ ...config, identity: { kind: "google" } }, "identity.kind"],
    [{ ...config, identity: { ...config.identity, client_id: "" } }, "identity.client_id"],
    [{ ...config, identity: { ...config.identity, domain: "fanfare" } }, "identity.domain"],
    [{ ...config, twitch: { ...config.twitch, player_url: "javascript:alert(1)" } }, "twitch.player_url"],
  ])("that is malformed stops the start and names the setting (%#)", (value, reason) => {
    expect(() => parseConfig(value)).toThrow(new RegExp(`^${reason}`));
  });

  test("that is missing stops the start", async () => {
    await expect(load(() => Promise.resolve(new Response("", { status: 404 })))).rejects.toThrow("config.json answered 404");
  });

  test("that is a page, as a site answers unknown paths, stops the start", async () => {
    await expect(load(() => Promise.resolve(new Response("<!doctype html>")))).rejects.toThrow(ConfigError);
  });

  test("that cannot be fetched stops the start", async () => {
    await expect(load(() => Promise.reject(new TypeError("offline")))).rejects.toThrow("could not be read");
  });
});
