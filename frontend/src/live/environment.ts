import { viewerWatchUrl } from "../api";
import type { Clock, Surroundings } from "./connection";

export const clock: Clock = {
  now: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => {
      clearTimeout(timer);
    };
  },
};

/** The browser as the surroundings of a {@link LiveConnection}. */
export function browserSurroundings(accessToken: () => Promise<string | null>): Surroundings {
  return {
    clock,
    random: Math.random,
    fetch: (input, init) => fetch(input, init),
    openWebSocket: (url) => new WebSocket(url),
    watchUrl: viewerWatchUrl,
    accessToken,
    online: () => navigator.onLine,
    pauseAfter: 10 * 60_000,
  };
}
