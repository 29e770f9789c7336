import { watchChannel, type Credentials, type Watch } from "../api";
import { serverNow } from "../serverTime";

export interface Clock {
  now(): number;
  /** Calls `run` once after `ms` milliseconds; the answer cancels it. */
  after(ms: number, run: () => void): () => void;
}

/** What a `LiveConnection` needs from outside. */
export interface Environment {
  clock: Clock;
  random: () => number;
  openWebSocket: (url: string) => WebSocket;
  /** Asks to follow a channel. */
  watch: (login: string, credentials: Credentials) => Promise<Watch>;
  /** What `watch` needs, renewed if need be; null when the viewer is not signed in any more. */
  credentials: () => Promise<Credentials | null>;
  /** What the device says about its network. Only a hint: a local server answers without one. */
  online: () => boolean;
  /** For how long (ms) a hidden page keeps its connection; null: for as long as it is open. */
  pauseAfter: number | null;
}

export const browserClock: Clock = {
  now: serverNow,
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => {
      clearTimeout(timer);
    };
  },
};

/** The browser, for a viewer who is signed in. */
export function browserEnvironment(credentials: Environment["credentials"]): Environment {
  return {
    clock: browserClock,
    random: Math.random,
    openWebSocket: (url) => new WebSocket(url),
    watch: watchChannel,
    credentials,
    online: () => navigator.onLine,
    pauseAfter: 10 * 60_000,
  };
}
