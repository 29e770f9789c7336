import { expect, test, vi } from "vitest";

import { LiveConnection, type LiveStatus } from "../src/live/connection";
import { FakeClock, fakeEnvironment, FakeSocket, MINUTE, SECOND, runPending } from "./fakeEnvironment";

const VIEWERS = 10_000;

/** What API Gateway takes. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html */
const NEW_CONNECTIONS_PER_SECOND = 500;

/** Numbers as random as they need to be, and the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** As much of a response as is read of it: real ones take a hundred times as long. */
const headers = new Headers();
const answer = (body: unknown): Response => ({ ok: true, headers, json: () => Promise.resolve(body) }) as Response;

/** As `runPending`, by the turns that an attempt takes: there are several hundred thousand of them here. */
const runMore = async (): Promise<void> => {
  for (let turn = 0; turn < 12; turn += 1) await Promise.resolve();
};

/** Everybody watches; then every connection breaks in the same instant, and `down` seconds long nothing answers. */
async function outage(down: number): Promise<{ attempts: number[]; opened: number[] }> {
  const clock = new FakeClock();
  const sockets = new Set<FakeSocket>();
  const statuses: LiveStatus[] = [];
  let up = true;
  let brokeAt = Infinity;
  const attempts: number[] = [];
  const opened: number[] = [];
  const count = (counts: number[]): void => {
    const second = Math.floor((clock.now() - brokeAt) / SECOND);
    if (second >= 0) counts[second] = (counts[second] ?? 0) + 1;
  };
  vi.stubGlobal("fetch", (path: string) => {
    if (!path.endsWith("/watch")) return Promise.resolve(answer({ events: [], next: null }));
    count(attempts);
    if (!up) return Promise.reject(new TypeError("network"));
    return Promise.resolve(answer({ channel: {}, topics: [], topics_version: 1, ticket: "t", websocket_url: "wss://live" }));
  });
  const openWebSocket = (url: string): FakeSocket => {
    const socket = new FakeSocket(url);
    sockets.add(socket);
    clock.after(0, () => {
      count(opened);
      socket.onopen?.();
    });
    return socket;
  };
  const viewers = Array.from({ length: VIEWERS }, (_, viewer) => {
    const environment = fakeEnvironment(clock, openWebSocket, { random: seeded(viewer) });
    return new LiveConnection("marlowe", environment, (state) => (statuses[viewer] = state.status));
  });
  for (const viewer of viewers) viewer.start();
  await runPending();
  await clock.pass(2 * MINUTE, runMore);
  expect(new Set(statuses)).toEqual(new Set(["live"]));

  brokeAt = clock.now();
  up = false;
  for (const socket of sockets) socket.onclose?.();
  for (let second = 0; second < down + 150; second += 1) {
    if (second === down) up = true;
    await clock.pass(SECOND, runMore);
    await runPending();
  }
  expect(new Set(statuses)).toEqual(new Set(["live"]));
  for (const viewer of viewers) viewer.stop();
  const filled = (seconds: number[]): number[] => Array.from(seconds, (n: number | undefined) => n ?? 0);
  return { attempts: filled(attempts), opened: filled(opened) };
}

/** Rows of five seconds: how many came in all, and in the fullest of them. */
function histogram(title: string, counts: number[]): string {
  const rows = [title];
  for (let start = 0; start < counts.length; start += 5) {
    const five = counts.slice(start, start + 5);
    const sum = five.reduce((total, n) => total + n, 0);
    const figures = [`${start}–${start + 4} s`.padStart(10), String(sum).padStart(6), String(Math.max(...five)).padStart(5)];
    rows.push(`${figures.join(" ")} ${"#".repeat(sum / 50)}`);
  }
  return rows.join("\n");
}

test.each([0, 60])("ten thousand viewers come back spread out after an outage of %d s", async (down) => {
  const { attempts, opened } = await outage(down);
  console.info(histogram(`New connections after an outage of ${down} s: in five seconds, and in the fullest of these`, opened));
  expect(opened.reduce((sum, n) => sum + n, 0)).toBe(VIEWERS);
  // Also those that fail: what is down may be behind API Gateway, which counts them all the same.
  for (const counts of [opened, attempts]) {
    expect(Math.max(...counts)).toBeLessThan(0.9 * NEW_CONNECTIONS_PER_SECOND);
  }
});
