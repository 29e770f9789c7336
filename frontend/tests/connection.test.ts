import { beforeEach, describe, expect, test, vi } from "vitest";

import { bearer, type ChannelEvent } from "../src/api";
import { LiveConnection, type LiveState } from "../src/live/connection";
import { event } from "./events";
import { FakeClock, fakeEnvironment, FakeSocket, MINUTE, SECOND, runPending } from "./fakeEnvironment";

let clock: FakeClock;
let sockets: FakeSocket[];
let states: LiveState[];
let requests: string[];
let tickets: number;
let topicsVersion: number;
let recorded: ChannelEvent[];
let watchAnswer: () => Response | Promise<Response>;
let eventsAnswer: (path: string) => Response | Promise<Response>;
let token: string | null;
let online: boolean;
let random: number;
let connection: LiveConnection;

const state = (): LiveState => states[states.length - 1] as LiveState;
const socket = (): FakeSocket => sockets[sockets.length - 1] as FakeSocket;
const shown = (): string[] => state().feed.map((item) => item.event.id);
const asked = (what: string): number => requests.filter((path) => path.includes(what)).length;
const refusal = (status: number, headers: Record<string, string> = {}): Response =>
  Response.json({ error: { code: "refused", message: "No." } }, { status, headers });

beforeEach(() => {
  clock = new FakeClock();
  [sockets, states, requests, recorded, tickets] = [[], [], [], [], 0];
  [token, online, random, topicsVersion] = ["token", true, 0.5, 5];
  watchAnswer = () => {
    tickets += 1;
    return Response.json({
      channel: { id: "1", login: "marlowe", display_name: "Marlowe", avatar_url: "" },
      topics: [{ event_type: "stream.online", status: "enabled", reason: null }],
      topics_version: topicsVersion,
      ticket: `ticket/${tickets}`,
      websocket_url: "wss://live.example/dev",
    });
  };
  eventsAnswer = () => Response.json({ events: recorded, next: null });
  vi.stubGlobal("fetch", async (path: string) => {
    requests.push(path);
    return path.endsWith("/watch") ? await watchAnswer() : await eventsAnswer(path);
  });
  const openWebSocket = (url: string): FakeSocket => {
    sockets.push(new FakeSocket(url));
    return socket();
  };
  connection = new LiveConnection(
    "marlowe",
    fakeEnvironment(clock, openWebSocket, {
      random: () => random,
      credentials: () => Promise.resolve(token === null ? null : bearer(token)),
      online: () => online,
    }),
    (change) => states.push(change),
  );
});

async function start(): Promise<void> {
  connection.start();
  await runPending();
}

async function goLive(): Promise<void> {
  await start();
  await open();
}

async function open(): Promise<void> {
  socket().onopen?.();
  await clock.pass(0);
}

describe("connecting", () => {
  test("opens the socket with the ticket that watch handed out", async () => {
    await start();
    expect(socket().url).toBe("wss://live.example/dev?ticket=ticket%2F1");
    expect(state()).toMatchObject({ status: "connecting", channel: { display_name: "Marlowe" } });
    expect(state().subscriptions).toHaveLength(1);
  });

  test("shows the recorded events without waiting for the socket", async () => {
    recorded = [event()];
    await start();
    expect(shown()).toEqual(["e1"]);
    expect(state().record).toBe("read");
  });

  test("is live once the socket is open", async () => {
    await goLive();
    expect(state().status).toBe("live");
  });

  test("gives up a socket that does not open", async () => {
    await start();
    await clock.pass(15 * SECOND);
    expect(sockets[0]?.closed).toBe(true);
    expect(state().status).toBe("reconnecting");
  });
});

describe("live", () => {
  test("shows events as they arrive, each once", async () => {
    await goLive();
    socket().receive({ type: "events", events: [event({ id: "a" }), event({ id: "b" })] });
    socket().receive({ type: "events", events: [event({ id: "a" })] });
    expect(shown()).toEqual(["b", "a"]);
  });

  test("takes the new states of the subscriptions", async () => {
    await goLive();
    socket().receive({ type: "topics", topics: [], version: 6 });
    expect(state().subscriptions).toEqual([]);
  });

  test("keeps the states of the subscriptions that watch answered when older ones arrive", async () => {
    await goLive();
    const { subscriptions } = state();
    socket().receive({ type: "topics", topics: [], version: 4 });
    expect(state().subscriptions).toEqual(subscriptions);
  });

  test("does not take older states after newer ones", async () => {
    await goLive();
    const [newer, older] = ["enabled", "pending"].map((status) => [{ event_type: "stream.online", status, reason: null }]);
    socket().receive({ type: "topics", topics: newer, version: 7 });
    socket().receive({ type: "topics", topics: older, version: 6 });
    expect(state().subscriptions).toEqual(newer);
  });

  test("does not take older states from an answer either", async () => {
    await goLive();
    socket().receive({ type: "topics", topics: [], version: 7 });
    socket().onclose?.();
    topicsVersion = 6;
    connection.retryNow();
    await runPending();
    expect(state().subscriptions).toEqual([]);
  });

  test.each([["no json"], [[]], [null], [{ type: "events" }], [{ type: "events", events: [{ id: 1 }] }], [{ type: "new" }]])(
    "survives the frame %j",
    async (frame) => {
      await goLive();
      socket().receive(frame);
      expect(state()).toMatchObject({ status: "live", feed: [] });
    },
  );

  test("reads the record again, for what the shared cache and the recorder had not yet", async () => {
    await goLive();
    recorded = [event({ id: "late" })];
    await clock.pass(3 * SECOND);
    expect(shown()).toEqual(["late"]);
    recorded = [event({ id: "later" }), ...recorded];
    await clock.pass(12 * SECOND);
    expect(shown()).toEqual(["later", "late"]);
  });

  test("keeps a live event that the record does not have yet", async () => {
    await goLive();
    socket().receive({ type: "events", events: [event({ id: "live" })] });
    await clock.pass(20 * SECOND);
    expect(shown()).toEqual(["live"]);
  });

  test("does not depend on the record", async () => {
    eventsAnswer = () => refusal(503);
    await goLive();
    expect(state()).toMatchObject({ status: "live", record: "failed" });
    socket().receive({ type: "events", events: [event()] });
    expect(shown()).toEqual(["e1"]);
  });
});

describe("a frame from which events were left out", () => {
  const marked = { type: "events", events: [], missed: true };

  beforeEach(async () => {
    await goLive();
    await clock.pass(MINUTE);
    requests = [];
  });

  test("makes the page read the record after a random time, and again when the recorder has caught up", async () => {
    random = 0.3;
    socket().receive(marked);
    await clock.pass(3 * SECOND - 1);
    expect(requests).toEqual([]);
    recorded = [event({ id: "missed" })];
    await clock.pass(1);
    expect(shown()).toEqual(["missed"]);
    recorded = [event({ id: "recorded late" }), ...recorded];
    await clock.pass(15 * SECOND);
    expect(shown()).toEqual(["recorded late", "missed"]);
    await clock.pass(MINUTE);
    expect(asked("/events")).toBe(2);
  });

  test("shows the events that it has at once", () => {
    socket().receive({ ...marked, events: [event({ id: "newest" })] });
    expect(shown()).toEqual(["newest"]);
  });

  test("does not multiply the reads when many follow, and the last of them is read for, too", async () => {
    for (let second = 0; second < 60; second += 1) {
      socket().receive(marked);
      socket().receive(marked);
      await clock.pass(SECOND);
    }
    expect(asked("/events")).toBeLessThanOrEqual(6);
    requests = [];
    await clock.pass(15 * SECOND);
    recorded = [event({ id: "recorded late" })];
    await clock.pass(10 * SECOND);
    expect(shown()).toEqual(["recorded late"]);
    requests = [];
    await clock.pass(2 * MINUTE);
    expect(asked("/events")).toBe(0);
  });

  test("makes nobody read who has lost the connection: the next one reads anyway", async () => {
    random = 1;
    socket().receive(marked);
    socket().onclose?.();
    await clock.pass(39 * SECOND);
    expect(asked("/events")).toBe(0);
  });

  test("counts again after a reconnection", async () => {
    socket().receive(marked);
    socket().onclose?.();
    connection.retryNow();
    await runPending();
    await open();
    await clock.pass(MINUTE);
    requests = [];
    socket().receive(marked);
    await clock.pass(MINUTE);
    expect(asked("/events")).toBe(2);
  });

  test.each([[{ missed: 1 }], [{ missed: false }], [{}]])("is not one with %j", async (mark) => {
    socket().receive({ type: "events", events: [], ...mark });
    await clock.pass(MINUTE);
    expect(requests).toEqual([]);
  });
});

describe("the heartbeat", () => {
  test("pings every four minutes and stays as long as something answers", async () => {
    await goLive();
    for (let beat = 1; beat <= 5; beat += 1) {
      await clock.pass(4 * MINUTE);
      expect(socket().sent).toHaveLength(beat);
      socket().receive({ type: "pong" });
    }
    expect(socket().sent[0]).toEqual({ action: "ping" });
    expect(sockets).toHaveLength(1);
  });

  test("gives up a connection that does not answer within ten seconds", async () => {
    await goLive();
    await clock.pass(4 * MINUTE + 10 * SECOND);
    expect(socket().closed).toBe(true);
    expect(state().status).toBe("reconnecting");
  });

  test("is asked for at once when the page wakes up", async () => {
    await goLive();
    connection.shown();
    expect(socket().sent).toEqual([{ action: "ping" }]);
    await clock.pass(10 * SECOND);
    expect(state().status).toBe("reconnecting");
  });
});

describe("reconnecting", () => {
  test("waits a random time, says until when, takes a fresh ticket and catches up", async () => {
    await goLive();
    socket().onclose?.();
    expect(state()).toMatchObject({ status: "reconnecting", retryAt: clock.now() + 20 * SECOND });
    recorded = [event({ id: "missed" })];
    await clock.pass(20 * SECOND - 1);
    expect(sockets).toHaveLength(1);
    await clock.pass(1);
    expect(socket().url).toContain("ticket%2F2");
    await open();
    expect(state()).toMatchObject({ status: "live", retryAt: null });
    expect(shown()).toEqual(["missed"]);
  });

  test("waits longer after each failure, with one timer", async () => {
    watchAnswer = () => Promise.reject(new TypeError("network"));
    random = 1;
    await start();
    for (const wait of [1.25, 2.5, 5, 10, 20, 40, 80, 80]) {
      expect(clock.pending).toBe(1);
      const before = asked("/watch");
      await clock.pass(wait * SECOND - 1);
      expect(asked("/watch")).toBe(before);
      await clock.pass(1);
      expect(asked("/watch")).toBe(before + 1);
    }
  });

  test("starts the backoff anew only after a connection that lasted", async () => {
    random = 1;
    await goLive();
    for (const [lasted, wait] of [
      [0, 40],
      [59, 80],
      [60, 40],
    ] as const) {
      await clock.pass(lasted * SECOND);
      socket().onclose?.();
      expect(state().retryAt).toBe(clock.now() + wait * SECOND);
      await clock.pass(wait * SECOND);
      await open();
    }
  });

  test.each([429, 503])("after %d waits at least as long as the server asks, and says until when", async (status) => {
    const answer = watchAnswer;
    watchAnswer = () => refusal(status, { "Retry-After": "20" });
    await start();
    expect(state()).toMatchObject({ status: "limited", message: "No.", retryAt: clock.now() + 20.625 * SECOND });
    watchAnswer = answer;
    await clock.pass(10 * SECOND);
    connection.retryNow();
    await clock.pass(10 * SECOND);
    expect(asked("/watch")).toBe(1);
    await clock.pass(SECOND);
    await open();
    expect(state()).toMatchObject({ status: "live", message: null, retryAt: null });
  });

  test("does not wait any longer when the viewer does not want to", async () => {
    await goLive();
    socket().onclose?.();
    connection.retryNow();
    connection.retryNow();
    await runPending();
    await open();
    expect(state().status).toBe("live");
    await clock.pass(2 * MINUTE);
    expect(sockets).toHaveLength(2);
  });

  test("tells that the device is offline, and tries at once when it is back", async () => {
    await goLive();
    online = false;
    socket().onclose?.();
    expect(state().status).toBe("offline");
    online = true;
    connection.retryNow();
    await runPending();
    await open();
    expect(state().status).toBe("live");
  });

  test("reads the record back to what it knows, page by page", async () => {
    recorded = [event({ id: "known" })];
    await goLive();
    await clock.pass(MINUTE);
    socket().onclose?.();
    const pages = [["n4", "n3"], ["n2", "n1"], ["known", "old"], ["older"]];
    eventsAnswer = (path) => {
      const page = Number(new URLSearchParams(path.split("?")[1]).get("before") ?? 0);
      const events = (pages[page] ?? []).map((id) => event({ id }));
      return Response.json({ events, next: String(page + 1) });
    };
    requests = [];
    connection.retryNow();
    await runPending();
    await open();
    expect(shown()).toEqual(["old", "n4", "n3", "n2", "n1", "known"]);
    expect(asked("/events")).toBe(3);
  });

  test("reads the whole gap again when a page of it could not be read", async () => {
    recorded = [event({ id: "known" })];
    await goLive();
    await clock.pass(MINUTE);
    const pages = [["n3"], ["n2"], ["n1", "known"]];
    let failing = true;
    eventsAnswer = (path) => {
      const page = Number(new URLSearchParams(path.split("?")[1]).get("before") ?? 0);
      if (page === 1 && failing) return new Response("", { status: 503 });
      return Response.json({ events: (pages[page] ?? []).map((id) => event({ id })), next: String(page + 1) });
    };
    socket().onclose?.();
    connection.retryNow();
    await runPending();
    await open();
    expect(shown()).toEqual(["n3", "known"]);
    failing = false;
    await clock.pass(20_000);
    expect(shown().sort()).toEqual(["known", "n1", "n2", "n3"]);
  });

  test("reads back no further than three pages", async () => {
    recorded = [event({ id: "known" })];
    await goLive();
    await clock.pass(MINUTE);
    let page = 0;
    eventsAnswer = () => Response.json({ events: [event({ id: `new-${(page += 1)}` })], next: String(page) });
    socket().onclose?.();
    requests = [];
    connection.retryNow();
    await runPending();
    await open();
    expect(asked("/events")).toBe(3);
    expect(state().status).toBe("live");
  });
});

describe("the planned return, before API Gateway ends the connection after two hours", () => {
  async function untilRenewal(prepare = (): void => undefined): Promise<void> {
    await goLive();
    states = [];
    for (let minutes = 0; minutes < 104; minutes += 4) {
      await clock.pass(4 * MINUTE);
      socket().receive({ type: "pong" });
    }
    expect(sockets).toHaveLength(1);
    prepare();
    await clock.pass(3.5 * MINUTE);
  }

  test("closes the old connection only when the new one has answered: no gap, nothing twice", async () => {
    await untilRenewal();
    const [old, fresh] = sockets as [FakeSocket, FakeSocket];
    expect(fresh.url).toContain("ticket%2F2");
    old.receive({ type: "events", events: [event({ id: "a" })] });
    await open();
    expect(fresh.sent).toEqual([{ action: "ping" }]);
    expect(old.closed).toBe(false);
    for (const each of [old, fresh]) each.receive({ type: "events", events: [event({ id: "b" })] });
    expect(old.closed).toBe(true);
    expect(shown()).toEqual(["b", "a"]);
    expect(new Set(states.map((each) => each.status))).toEqual(new Set(["live"]));
    await clock.pass(20 * SECOND);
    expect(sockets).toHaveLength(2);
    expect(fresh.closed).toBe(false);
  });

  test("stays with the old connection while the new one fails, and is tried again", async () => {
    const answer = watchAnswer;
    await untilRenewal(() => {
      watchAnswer = () => refusal(503);
    });
    expect(sockets).toHaveLength(1);
    watchAnswer = answer;
    expect(state()).toMatchObject({ status: "live", retryAt: null });
    await clock.pass(SECOND);
    expect(sockets).toHaveLength(2);
    socket().onclose?.();
    expect(state().status).toBe("live");
    await clock.pass(3 * SECOND);
    expect(sockets).toHaveLength(3);
    await open();
    socket().receive({ type: "pong" });
    expect(sockets.map((each) => each.closed)).toEqual([true, true, false]);
  });

  test("goes on when the old connection breaks before the new one serves", async () => {
    await untilRenewal();
    sockets[0]?.onclose?.();
    expect(state().status).toBe("reconnecting");
    await open();
    expect(state().status).toBe("live");
    expect(sockets).toHaveLength(2);
  });

  test("gives up a new connection that does not answer", async () => {
    await untilRenewal();
    await open();
    await clock.pass(10 * SECOND);
    expect(sockets.map((each) => each.closed)).toEqual([false, true]);
    expect(state().status).toBe("live");
  });
});

describe("a page that nobody looks at", () => {
  test("holds no connection after ten minutes, and comes back with what it missed", async () => {
    await goLive();
    connection.hidden();
    await clock.pass(4 * MINUTE);
    socket().receive({ type: "pong" });
    await clock.pass(4 * MINUTE);
    socket().receive({ type: "pong" });
    expect(state().status).toBe("live");
    await clock.pass(2 * MINUTE);
    expect(state().status).toBe("paused");
    expect(socket().closed).toBe(true);
    expect(clock.pending).toBe(0);
    recorded = [event({ id: "missed" })];
    connection.shown();
    await runPending();
    await open();
    expect(state().status).toBe("live");
    expect(shown()).toEqual(["missed"]);
  });

  test("is not paused when it was looked at in between, but asked whether it lives", async () => {
    await goLive();
    connection.hidden();
    await clock.pass(3 * MINUTE);
    connection.shown();
    expect(socket().sent).toEqual([{ action: "ping" }]);
    socket().receive({ type: "pong" });
    connection.hidden();
    await clock.pass(8 * MINUTE);
    expect(state().status).not.toBe("paused");
  });

  test("stays signed out", async () => {
    token = null;
    await start();
    connection.hidden();
    await clock.pass(11 * MINUTE);
    expect(state().status).toBe("signed-out");
  });
});

describe("what only the viewer can change", () => {
  test.each([
    [401, "signed-out"],
    [404, "unknown-channel"],
    [400, "refused"],
    [403, "refused"],
  ])("after %d it is %s, and is not tried again", async (status, expected) => {
    watchAnswer = () => refusal(status);
    await start();
    expect(state().status).toBe(expected);
    await clock.pass(10 * MINUTE);
    expect(asked("/watch")).toBe(1);
  });

  test("without a token it is signed out, and nothing is asked", async () => {
    token = null;
    await start();
    expect(state().status).toBe("signed-out");
    expect(requests).toEqual([]);
  });
});

describe("a viewer who has too many pages open", () => {
  const tooMany = { type: "error", code: "too_many_connections", message: "Too many." };

  test("reads why this one has stopped, and it does not come back by itself", async () => {
    await goLive();
    socket().receive(tooMany);
    expect(state()).toMatchObject({ status: "refused", message: "Too many." });
    expect(socket().closed).toBe(true);
    await clock.pass(10 * MINUTE);
    expect(sockets).toHaveLength(1);
  });

  test("keeps a page whose next connection takes the place of its own", async () => {
    await goLive();
    for (let minutes = 0; minutes < 104; minutes += 4) {
      await clock.pass(4 * MINUTE);
      sockets[0]?.receive({ type: "pong" });
    }
    await clock.pass(3.5 * MINUTE);
    expect(sockets).toHaveLength(2);
    sockets[0]?.receive(tooMany);
    sockets[0]?.onclose?.();
    await open();
    expect(state().status).toBe("live");
  });

  test("is not taken for one who sent something that the server does not know", async () => {
    await goLive();
    socket().receive({ ...tooMany, code: "unknown_action" });
    expect(state().status).toBe("live");
  });
});

describe("stopping", () => {
  test("closes the socket, ends every timer and tells nothing more", async () => {
    await goLive();
    const { onmessage } = socket();
    connection.stop();
    const told = states.length;
    expect(socket().closed).toBe(true);
    expect(clock.pending).toBe(0);
    onmessage?.({ data: JSON.stringify({ type: "events", events: [event()] }) });
    expect(states).toHaveLength(told);
  });

  test("opens nothing when the answer comes too late", async () => {
    connection.start();
    connection.stop();
    await runPending();
    expect(sockets).toEqual([]);
  });
});
