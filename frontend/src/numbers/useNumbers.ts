import { onScopeDispose, ref, shallowRef, watch, type Ref } from "vue";

import { readCounts, readDailyCounts, readMinutelyCounts } from "../api";
import type { FeedItem } from "../live/mergeEvents";
import { serverNow } from "../serverTime";
import { addEvents, advanceTo, emptyNumbers, reconcile, type Numbers } from "./numbers";

/** By then what arrived live is in every answer of the read routes: recording and the shared cache take up to 12 s. */
const COMPLETE_AFTER = 15_000;
const READ_AT_LEAST_EVERY = 5 * 60_000;
const CATCH_UP_AFTER = 2_000;
const CLOCK = 5_000;

/** How many days are told apart, today included. */
export const DAYS = 30;

/**
 * A channel's numbers: read from the record, moved at once by what arrives live, and read again when it is quiet.
 * `state` is whether they have been read.
 */
export function useNumbers(
  login: string,
  feed: () => readonly FeedItem[],
): { numbers: Readonly<Ref<Numbers>>; state: Ref<"loading" | "read" | "failed"> } {
  const numbers = shallowRef(emptyNumbers(serverNow()));
  const state = ref<"loading" | "read" | "failed">("loading");
  let lastArrival = -Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;

  async function readAgain(): Promise<void> {
    clearTimeout(timer);
    const asked = serverNow();
    try {
      const [counts, minutes, days] = await Promise.all([
        readCounts(login),
        readMinutelyCounts(login),
        // The other numbers do without.
        readDailyCounts(login, DAYS).catch(() => null),
      ]);
      const isComplete = lastArrival < asked - COMPLETE_AFTER;
      numbers.value = reconcile(numbers.value, { counts, minutes, days }, isComplete, serverNow());
      state.value = "read";
    } catch {
      // What is shown stays, and still moves with what arrives.
      if (state.value === "loading") state.value = "failed";
    }
    if (!stopped) readAfter(lastArrival >= asked - COMPLETE_AFTER ? COMPLETE_AFTER : READ_AT_LEAST_EVERY);
  }

  function readAfter(ms: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => void readAgain(), ms);
  }

  // Synchronous, since a flood may bring more events between two redraws than the feed holds.
  watch(
    feed,
    (items, before) => {
      const known = new Set(before.map((item) => item.event.id));
      const fresh = items.filter((item) => !known.has(item.event.id));
      // What was recorded a moment ago may be missing in the answers.
      for (const { event } of fresh) lastArrival = Math.max(lastArrival, Date.parse(event.created_at));
      const live = fresh.filter((item) => item.source === "live").map((item) => item.event);
      if (live.length > 0) {
        lastArrival = serverNow();
        numbers.value = addEvents(numbers.value, live, lastArrival);
      }
      // What came only from the record was missed while there was no connection: the record has counted it.
      if (fresh.length > 0) readAfter(live.length > 0 ? COMPLETE_AFTER + 1 : CATCH_UP_AFTER);
    },
    { flush: "sync" },
  );
  const clock = setInterval(() => {
    numbers.value = advanceTo(numbers.value, serverNow());
  }, CLOCK);
  onScopeDispose(() => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(clock);
  });
  void readAgain();
  return { numbers, state };
}
