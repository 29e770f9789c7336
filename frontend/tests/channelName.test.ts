import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { parseChannel } from "../src/channelName";

describe("a channel", () => {
  test.each([
    ["shroud", "shroud"],
    ["  Shroud ", "shroud"],
    ["@Shroud", "shroud"],
    ["a", "a"],
    ["x".repeat(25), "x".repeat(25)],
    ["0_under_score", "0_under_score"],
    ["twitch.tv/Shroud", "shroud"],
    ["https://www.twitch.tv/shroud", "shroud"],
    ["http://m.twitch.tv/shroud/", "shroud"],
    ["https://twitch.tv/shroud/videos?filter=all#top", "shroud"],
  ])("is read from %j", (input, login) => {
    expect(parseChannel(input)).toEqual({ login });
  });

  test.each([
    ["", "Enter"],
    ["   ", "Enter"],
    ["@", "Enter"],
    ["two words", "only letters"],
    ["naïve", "only letters"],
    ["name-with-dash", "only letters"],
    ["https://example.com/shroud", "only letters"],
    ["_hidden", "does not begin with an underscore"],
    ["x".repeat(26), "at most 25"],
    ["https://www.twitch.tv/", "but not to a channel"],
    ["twitch.tv", "but not to a channel"],
  ])("is not %j, and the reason is said", (input, reason) => {
    expect(parseChannel(input)).toEqual({ problem: expect.stringContaining(reason) as string });
  });

  test("is always a login that Twitch could have given, whatever was typed", () => {
    fc.assert(
      fc.property(fc.string(), (input) => {
        const parsed = parseChannel(input);
        if ("login" in parsed) expect(parsed.login).toMatch(/^[a-z0-9][a-z0-9_]{0,24}$/);
      }),
    );
  });
});
