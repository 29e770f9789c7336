import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { serverNow, takeServerTime } from "../src/serverTime";

const NOW = Date.UTC(2026, 0, 1, 12);
const HOUR = 3_600_000;

function answer(date: number | string | null, age?: string): void {
  const headers = new Headers();
  if (date !== null) headers.set("Date", typeof date === "string" ? date : new Date(date).toUTCString());
  if (age !== undefined) headers.set("Age", age);
  takeServerTime(new Response(null, { headers }));
}

beforeEach(() => {
  vi.useFakeTimers({ now: NOW });
});
afterEach(() => {
  answer(Date.now());
  vi.useRealTimers();
});

describe("the server's time", () => {
  test.each([2 * HOUR, -2 * HOUR, 20_000, -400 * 24 * HOUR])("is the page's when the device is off by %i ms", (off) => {
    answer(NOW + off);
    expect(serverNow()).toBe(NOW + off);
    vi.setSystemTime(NOW + 5_000);
    expect(serverNow()).toBe(NOW + off + 5_000);
  });

  test("is that of a cached answer, and for how long it was held", () => {
    answer(NOW + HOUR, "40");
    expect(serverNow()).toBe(NOW + HOUR + 40_000);
  });

  test.each([0, 12_000, -12_000])("is not moved by answers that take their time (%i ms)", (off) => {
    answer(NOW + off);
    expect(serverNow()).toBe(NOW);
  });

  test.each([null, "", "soon", "Thu, 32 Foo 2026"])("is not known from %j", (date) => {
    answer(date);
    expect(serverNow()).toBe(NOW);
  });

  test("is right again when the device's clock is put right", () => {
    answer(NOW + 2 * HOUR);
    vi.setSystemTime(NOW + 2 * HOUR);
    answer(NOW + 2 * HOUR);
    expect(serverNow()).toBe(NOW + 2 * HOUR);
  });
});
