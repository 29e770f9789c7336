import { describe, expect, test, vi } from "vitest";

import { ApiError, bearer, isChannelEvent, readEvents, readLeaders, retryAfter, watchChannel } from "../src/api";
import { backoff } from "../src/live/backoff";
import { event } from "./events";

describe("Retry-After", () => {
  const now = Date.UTC(2026, 0, 1);

  test.each([
    [null, null],
    ["20", 20_000],
    ["0", 0],
    [new Date(now + 5_000).toUTCString(), 5_000],
    [new Date(now - 5_000).toUTCString(), 0],
    ["soon", null],
  ])("%j", (header, expected) => {
    expect(retryAfter(header, now)).toBe(expected);
  });
});

describe("the backoff", () => {
  test("is a random share of a bound that doubles from little more than a second to eighty", () => {
    const bounds = [1, 2, 3, 4, 5, 6, 7, 100].map((failures) => backoff(failures, () => 1));
    expect(bounds).toEqual([1_250, 2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 80_000]);
    expect(backoff(3, () => 0.25)).toBe(1_250);
    expect(backoff(3, () => 0)).toBe(0);
  });
});

describe("the API", () => {
  function answering(answer: () => Response) {
    const fetch = vi.fn(() => Promise.resolve(answer()));
    vi.stubGlobal("fetch", fetch);
    return fetch;
  }

  test("is asked to watch with the token in a header, never in the address", async () => {
    const fetch = answering(() => Response.json({ ticket: "t" }));
    await watchChannel("marlowe", bearer("token"));
    expect(fetch).toHaveBeenCalledWith("/api/channels/marlowe/watch", {
      method: "POST",
      headers: { Authorization: "Bearer token" },
    });
  });

  test("says why it refused and how long to wait", async () => {
    answering(() =>
      Response.json(
        { error: { code: "rate_limited", message: "Too many viewers." } },
        { status: 429, headers: { "Retry-After": "7" } },
      ),
    );
    const error = await watchChannel("marlowe", bearer("token")).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 429, message: "Too many viewers.", retryAfter: 7_000 });
  });

  test("may fail with a gateway's own page", async () => {
    answering(() => new Response("<html>", { status: 502 }));
    await expect(watchChannel("marlowe", bearer("token"))).rejects.toMatchObject({ status: 502 });
  });

  test("gives the newest events, past this browser's cache, without what is not an event", async () => {
    const fetch = answering(() => Response.json({ events: [event(), { id: 3 }], next: null }));
    expect(await readEvents("marlowe", { limit: 100 })).toEqual({ events: [event()], next: null });
    expect(fetch).toHaveBeenLastCalledWith("/api/channels/marlowe/events?limit=100", { cache: "no-store" });
    await readEvents("marlowe", { limit: 10, before: "a+b", eventTypes: ["channel.raid", "channel.cheer"] });
    expect(fetch).toHaveBeenLastCalledWith(
      "/api/channels/marlowe/events?limit=10&before=a%2Bb&event_type=channel.raid%2Cchannel.cheer",
      { cache: "no-store" },
    );
  });

  test("is asked for the leaders of all time and all types without saying so", async () => {
    const fetch = answering(() => Response.json({ channels: [] }));
    await readLeaders(null, "");
    expect(fetch).toHaveBeenLastCalledWith("/api/leaderboard?limit=25", { cache: "no-store" });
  });
});

describe("an event from the network", () => {
  test("is recognised by its shape", () => {
    expect(isChannelEvent(event())).toBe(true);
  });

  test.each([
    [null],
    ["event"],
    [{ ...event(), id: 7 }],
    [{ ...event(), created_at: "yesterday" }],
    [{ ...event(), payload: null }],
    [{ id: "e1" }],
  ])("is refused otherwise (%#)", (value) => {
    expect(isChannelEvent(value)).toBe(false);
  });
});
