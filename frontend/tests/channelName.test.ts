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
    ["https://www.twitch.tv/popout/Shroud/chat?popout=", "shroud"],
    ["twitch.tv/popout/shroud/u/chat", "shroud"],
    ["https://www.twitch.tv/moderator/shroud", "shroud"],
    ["https://www.twitch.tv/embed/shroud/chat?parent=example.com", "shroud"],
    ["https://www.twitch.tv/subs/shroud", "shroud"],
    ["https://dashboard.twitch.tv/u/shroud/stream-manager", "shroud"],
    ["https://player.twitch.tv/?channel=Shroud&parent=example.com", "shroud"],
    ["https://www.twitch.tv/shroud/clip/CleverSnake", "shroud"],
    ["https://m.twitch.tv/shroud/profile", "shroud"],
    ["https://pt-br.twitch.tv/shroud", "shroud"],
    ["HTTPS://WWW.TWITCH.TV/SHROUD", "shroud"],
    ["twitch.tv//shroud", "shroud"],
    ["twitch.tv/constructor", "constructor"],
    ["shroud \u{e0000}", "shroud"],
    ["\u200eshroud\u200b", "shroud"],
    ["\u2066@Shroud\u2069", "shroud"],
    ["shr\u00adoud\ufeff", "shroud"],
    ["https://www.twitch.tv/shroud\u{e0000}", "shroud"],
    // What somebody types is a name, whatever Twitch's links begin with.
    ["popout", "popout"],
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
    ["twitch.tv/popout/", "but not to a channel"],
    ["https://player.twitch.tv/?video=1", "but not to a channel"],
    ["\u200b\u{e0000}", "Enter"],
    ["https://www.twitch.tv/videos/1234567", "That is a video, not a channel."],
    ["m.twitch.tv/videos/1", "a video"],
    ["twitch.tv/Videos/1?t=1h", "a video"],
    ["https://clips.twitch.tv/CleverSnake-abc", "a clip"],
    ["https://www.twitch.tv/clip/CleverSnake", "a clip"],
    ["https://www.twitch.tv/team/speedrunners", "a team"],
    ["https://www.twitch.tv/directory/category/art", "of Twitch’s own"],
    ["https://www.twitch.tv/search?term=shroud", "of Twitch’s own"],
    ["https://notwitch.tv/shroud", "only letters"],
    ["https://twitch.tv.example.com/shroud", "only letters"],
    ["https://xn--a.twitch.tv/shroud", "only letters"],
  ])("is not %j, and the reason is said", (input, reason) => {
    expect(parseChannel(input)).toEqual({ problem: expect.stringContaining(reason) as string });
  });

  test("is always a login that Twitch could have given, whatever was typed", () => {
    fc.assert(
      fc.property(fc.constantFrom("", "twitch.tv/", "https://player.twitch.tv/?channel="), fc.string(), (before, typed) => {
        const parsed = parseChannel(before + typed);
        if ("login" in parsed) expect(parsed.login).toMatch(/^[a-z0-9][a-z0-9_]{0,24}$/);
      }),
    );
  });
});
