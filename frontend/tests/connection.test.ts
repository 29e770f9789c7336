import { beforeEach, describe, expect, test } from "vitest";

import { viewerWatchUrl } from "../src/live/api";
import { LiveConnection, type Clock, type LiveState } from "../src/live/connection";
import type { ChannelEvent } from "../src/live/events";
import { event } from "./events";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** Time that passes when a test says so. */
class FakeClock implements Clock {
  #now = Date.UTC(2026, 0, 1);
  #timers = new Set<{ at: number; run: () => void }>();

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  get pending(): number {
    return this.#timers.size;
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const next = [...this.#timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#now = next.at;
      this.#timers.delete(next);
      next.run();
      await settle();
    }
    this.#now = end;
  }
}

/** Lets every promise that can go on, go on. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

class FakeSocket {
  onopen: (() => void) | null = null;
  onmessage: ((message: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  sent: unknown[] = [];
  closed = false;

  constructor(readonly url: string) {}

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }

  close(): void {
    this.closed = true;
  }

  receive(frame: unknown): void {
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }
}

let clock: FakeClock;
let sockets: FakeSocket[];
let states: LiveState[];
let requests: string[];
let tickets: number;
let recorded: ChannelEvent[];
let watchAnswer: () => Response | Promise<Response>;
let eventsAnswer: () => Response | Promise<Response>;
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
  [token, online, random] = ["token", true, 0.5];
  watchAnswer = () => {
    tickets += 1;
    return Response.json({
      channel: { id: "1", login: "marlowe", display_name: "Marlowe", avatar_url: "" },
      topics: [{ event_type: "stream.online", status: "enabled", reason: null }],
      ticket: `ticket/${tickets}`,
      websocket_url: "wss://live.example/dev",
    });
  };
  eventsAnswer = () => Response.json({ events: recorded, next: null });
  connection = new LiveConnection(
    "marlowe",
    {
      clock,
      random: () => random,
      fetch: async (input) => {
        const path = String(input);
        requests.push(path);
        return path.endsWith("/watch") ? await watchAnswer() : await eventsAnswer();
      },
      openWebSocket: (url) => {
        sockets.push(new FakeSocket(url));
        return socket() as unknown as WebSocket;
      },
      watchUrl: viewerWatchUrl,
      accessToken: () => Promise.resolve(token),
      online: () => online,
    },
    (change) => states.push(change),
  );
});

async function start(): Promise<void> {
  connection.start();
  await settle();
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
    expect(state().topics).toHaveLength(1);
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

  test("takes new topics", async () => {
    await goLive();
    socket().receive({ type: "topics", topics: [] });
    expect(state().topics).toEqual([]);
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
    connection.check();
    expect(socket().sent).toEqual([{ action: "ping" }]);
    await clock.pass(10 * SECOND);
    expect(state().status).toBe("reconnecting");
  });
});

describe("reconnecting", () => {
  test("waits a random time, takes a fresh ticket and catches up", async () => {
    await goLive();
    socket().onclose?.();
    expect(state().status).toBe("reconnecting");
    recorded = [event({ id: "missed" })];
    await clock.pass(499);
    expect(sockets).toHaveLength(1);
    await clock.pass(1);
    expect(socket().url).toContain("ticket%2F2");
    await open();
    expect(state().status).toBe("live");
    expect(shown()).toEqual(["missed"]);
  });

  test("waits longer after each failure, with one timer", async () => {
    watchAnswer = () => Promise.reject(new TypeError("network"));
    random = 1;
    await start();
    for (const wait of [1, 2, 4, 8, 16, 30, 30]) {
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
    socket().onclose?.();
    await clock.pass(1 * SECOND);
    await open();
    socket().onclose?.();
    await clock.pass(1 * SECOND);
    expect(sockets).toHaveLength(2);
    await clock.pass(1 * SECOND);
    expect(sockets).toHaveLength(3);
    await open();
    await clock.pass(30 * SECOND);
    socket().onclose?.();
    await clock.pass(1 * SECOND);
    expect(sockets).toHaveLength(4);
  });

  test("happens by plan before API Gateway ends the connection after two hours", async () => {
    await goLive();
    for (let minutes = 0; minutes < 112; minutes += 4) {
      await clock.pass(4 * MINUTE);
      socket().receive({ type: "pong" });
    }
    expect(sockets).toHaveLength(1);
    await clock.pass(30 * SECOND);
    expect(sockets).toHaveLength(2);
    expect(sockets[0]?.closed).toBe(true);
  });

  test.each([429, 503])("after %d waits at least as long as the server asks, and says until when", async (status) => {
    const answer = watchAnswer;
    watchAnswer = () => refusal(status, { "Retry-After": "20" });
    await start();
    expect(state()).toMatchObject({ status: "reconnecting", message: "No.", retryAt: clock.now() + 20.5 * SECOND });
    watchAnswer = answer;
    await clock.pass(20 * SECOND);
    expect(asked("/watch")).toBe(1);
    await clock.pass(SECOND);
    await open();
    expect(state()).toMatchObject({ status: "live", message: null, retryAt: null });
  });

  test("tells that the device is offline, and tries at once when it is back", async () => {
    await goLive();
    online = false;
    random = 1;
    socket().onclose?.();
    expect(state().status).toBe("offline");
    online = true;
    connection.wentOnline();
    await settle();
    await open();
    expect(state().status).toBe("live");
    expect(sockets).toHaveLength(2);
    await clock.pass(MINUTE);
    expect(sockets).toHaveLength(2);
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
    await settle();
    expect(sockets).toEqual([]);
  });
});
