import { bearer, watchChannel } from "../src/api";
import type { Clock, Environment } from "../src/live/environment";

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;

/** Lets every promise that can go on, go on. */
export const runPending = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

interface Timer {
  at: number;
  run: () => void;
  cancelled: boolean;
}

/** Time that passes when a test says so. */
export class FakeClock implements Clock {
  #now = Date.UTC(2026, 0, 1);
  /** A binary heap: the timer at n is due no later than those at 2n + 1 and 2n + 2. */
  #timers: Timer[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run, cancelled: false };
    const timers = this.#timers;
    let place = timers.push(timer) - 1;
    for (let above = (place - 1) >> 1; above >= 0 && at(timers, above) > timer.at; above = (place - 1) >> 1) {
      timers[place] = timers[above] as Timer;
      place = above;
    }
    timers[place] = timer;
    return () => {
      timer.cancelled = true;
    };
  }

  get pending(): number {
    return this.#timers.filter((timer) => !timer.cancelled).length;
  }

  /** Runs what is due in the meantime, in order; what follows from it happens before time goes on. */
  async pass(ms: number, runMore = runPending): Promise<void> {
    const end = this.#now + ms;
    while (at(this.#timers, 0) <= end) {
      const next = this.#takeFirst();
      if (next.cancelled) continue;
      this.#now = Math.max(this.#now, next.at);
      next.run();
      await runMore();
    }
    this.#now = end;
  }

  /** Time passes without anything running, as on a computer that sleeps. */
  sleep(ms: number): void {
    this.#now += ms;
  }

  #takeFirst(): Timer {
    const timers = this.#timers;
    const first = timers[0] as Timer;
    const last = timers.pop() as Timer;
    if (timers.length === 0) return first;
    let place = 0;
    for (;;) {
      const left = 2 * place + 1;
      const below = at(timers, left + 1) < at(timers, left) ? left + 1 : left;
      if (at(timers, below) >= last.at) break;
      timers[place] = timers[below] as Timer;
      place = below;
    }
    timers[place] = last;
    return first;
  }
}

/** When the timer in this place is due; never, if there is none. */
function at(timers: Timer[], place: number): number {
  return timers[place]?.at ?? Infinity;
}

/** An environment in which all is well; the API is what `fetch` is stubbed to be. */
export function fakeEnvironment(
  clock: Clock,
  openWebSocket: (url: string) => FakeSocket,
  change: Partial<Environment> = {},
): Environment {
  return {
    clock,
    random: () => 0.5,
    openWebSocket: (url) => openWebSocket(url) as unknown as WebSocket,
    watch: watchChannel,
    credentials: () => Promise.resolve(bearer("token")),
    online: () => true,
    pauseAfter: 10 * MINUTE,
    ...change,
  };
}

export class FakeSocket {
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
